//! The part of a file of the target that holds lines of the source, between two marks: taken out
//! before every merge and made anew, so that merging twice is merging once. Knows nothing of what
//! the lines mean.

use super::File;

const BEGIN: &[u8] = b"# >>> instancesync: from the source, made anew by every clone";
const BEGIN_MARK: &[u8] = b"# >>> instancesync";
const END: &[u8] = b"# <<< instancesync";
/// How comments begin that a merger writes into the block.
pub(super) const REMARK: &[u8] = b"# instancesync: ";

/// Lines of the source on their way into a file of the target.
#[derive(Debug, Default)]
pub(super) struct Block {
    lines: Vec<Vec<u8>>,
}

/// Returns the lines without their ends.
pub(super) fn lines(contents: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = contents.strip_suffix(b"\n").unwrap_or(contents);
    let count = usize::from(!contents.is_empty()) * usize::MAX;
    body.split(|byte| *byte == b'\n').take(count)
}

/// Returns the lines of a file of the source that say something to its readers, each with the
/// comments right above it, which belong to it. What an earlier clone wrote is no comment.
pub(super) fn commented_lines(contents: &[u8]) -> impl Iterator<Item = (Vec<&[u8]>, &[u8])> {
    let mut comments = Vec::new();
    lines(contents).filter_map(move |line| {
        let trimmed = line.trim_ascii();
        if !trimmed.starts_with(b"#") {
            return Some((std::mem::take(&mut comments), line));
        }
        if !is_own(trimmed) {
            comments.push(line);
        }
        None
    })
}

/// Returns the words of a line.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

fn is_mark(line: &[u8]) -> bool {
    line.starts_with(BEGIN_MARK) || line.starts_with(END)
}

/// Tells whether an earlier clone wrote this line: a mark, or a remark in a block.
fn is_own(line: &[u8]) -> bool {
    is_mark(line) || line.starts_with(REMARK)
}

/// Returns the file as the target would have it without a block.
pub(super) fn without_block(contents: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(contents.len());
    let mut rest = contents.split_inclusive(|byte| *byte == b'\n');
    while let Some(line) = rest.next() {
        if !is_mark(line) {
            kept.extend_from_slice(line);
        } else if line.starts_with(BEGIN_MARK) && rest.clone().any(|line| line.starts_with(END)) {
            // A mark without its end is an accident of somebody's editor: only the mark goes.
            rest.by_ref().find(|line| line.starts_with(END));
        }
    }
    kept
}

impl Block {
    /// Adds one line, given without its end. A mark of an earlier clone is no line.
    pub(super) fn push(&mut self, line: &[u8]) {
        if !is_mark(line) {
            self.lines.push(line.to_vec());
        }
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns the file that stands where `target` does, with `own`, the target's part of it, and
    /// this block at its end; `None` where there is neither file nor anything to write.
    pub(super) fn file(&self, target: Option<&File>, own: Vec<u8>) -> Option<File> {
        match target {
            Some(target) => Some(target.with(self.append_to(own))),
            None if self.is_empty() && own.is_empty() => None,
            None => Some(File::of_root(self.append_to(own))),
        }
    }

    /// Returns the file of the target, free of blocks, with this one at its end.
    fn append_to(&self, mut contents: Vec<u8>) -> Vec<u8> {
        if self.is_empty() {
            return contents;
        }
        if !contents.is_empty() && !contents.ends_with(b"\n") {
            contents.push(b'\n');
        }
        for line in std::iter::once(BEGIN)
            .chain(self.lines.iter().map(Vec::as_slice))
            .chain(std::iter::once(END))
        {
            contents.extend_from_slice(line);
            contents.push(b'\n');
        }
        contents
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, lines, without_block};

    #[test]
    fn what_was_appended_comes_out_again() {
        let mut block = Block::default();
        block.push(b"a");
        block.push(b"# <<< instancesync");
        block.push(b"b");
        for own in ["", "x\n", "x\n\ny\n"] {
            let merged = block.append_to(own.as_bytes().to_vec());
            assert_eq!(without_block(&merged), own.as_bytes());
            assert!(merged.ends_with(b"\na\nb\n# <<< instancesync\n"));
        }
        assert_eq!(
            block.append_to(b"x".to_vec()),
            block.append_to(b"x\n".to_vec())
        );
    }

    #[test]
    fn a_mark_without_its_end_loses_only_itself() {
        let torn = b"x\n# >>> instancesync: torn\ny\nz";
        assert_eq!(without_block(torn), b"x\ny\nz");
        assert_eq!(without_block(b"# <<< instancesync\nx\n"), b"x\n");
    }

    #[test]
    fn an_empty_file_has_no_lines() {
        assert_eq!(lines(b"").count(), 0);
        assert_eq!(lines(b"a\n\nb").count(), 3);
        assert_eq!(lines(b"a\n\n").count(), 2);
    }
}
