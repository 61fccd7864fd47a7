//! A page of rows under headings, with labels on the left, at most 80 columns wide. What it is
//! given is made safe to print. Knows nothing of what the rows say.

use super::escape;

/// Columns of a page.
const WIDTH: usize = 80;
/// Where the values begin.
const INDENT: usize = 18;
/// LIMIT: values of one row; a machine with more of anything is not read on a screen.
const MAX_VALUES: usize = 40;

/// The text so far.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// Begins a part.
    pub(super) fn heading(&mut self, heading: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(heading);
        self.text.push('\n');
    }

    /// Adds a sentence behind a label; further lines stand below its beginning.
    pub(super) fn sentence(&mut self, label: &str, text: &str) {
        let indent = label.chars().count();
        let text = escape::text(text);
        for (index, line) in wrap(&text, WIDTH - indent).iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            self.text.push_str(&format!("{label:indent$}{line}\n"));
        }
    }

    /// Adds an empty line.
    pub(super) fn gap(&mut self) {
        self.text.push('\n');
    }

    /// Returns the whole page.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Adds a row, unless there is nothing to say; long values go on below themselves.
    pub(super) fn row(&mut self, label: &str, value: &str) {
        let value = escape::text(value);
        let mut lines = wrap(&value, WIDTH - INDENT).into_iter();
        if let Some(first) = lines.next() {
            // A label too long for its column has a line of its own.
            let label = format!("  {label}");
            match label.chars().count() < INDENT {
                true => self.text.push_str(&format!("{label:INDENT$}{first}\n")),
                false => {
                    let label = escape::shorten(&escape::text(&label), WIDTH);
                    self.text
                        .push_str(&format!("{label}\n{:INDENT$}{first}\n", ""));
                }
            }
        }
        lines.for_each(|line| self.text.push_str(&format!("{:INDENT$}{line}\n", "")));
    }

    /// Adds a row of values with commas between them.
    pub(super) fn list(&mut self, label: &str, values: impl IntoIterator<Item = String>) {
        let mut values: Vec<String> = values.into_iter().collect();
        let rest = values.len().saturating_sub(MAX_VALUES);
        values.truncate(MAX_VALUES);
        if rest > 0 {
            values.push(format!("and {rest} more"));
        }
        self.row(label, &values.join(", "));
    }
}

/// Breaks a text at blanks, and inside of a word that is longer than a line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut letters = word.chars().peekable();
        let length = word.chars().count();
        if used > 0 && used + 1 + length <= width {
            line.push(' ');
            used += 1;
        } else if used > 0 {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        while let Some(letter) = letters.next() {
            line.push(letter);
            used += 1;
            if used == width && letters.peek().is_some() {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
        }
    }
    if used > 0 {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn long_texts_go_on_below() {
        assert_eq!(wrap("a b c", 3), ["a b", "c"]);
        assert_eq!(wrap("abcdefg h", 3), ["abc", "def", "g h"]);
        assert_eq!(wrap("abc def", 3), ["abc", "def"]);
        assert_eq!(wrap("", 3), [""; 0]);
        assert_eq!(wrap("  x ", 3), ["x"]);
    }
}
