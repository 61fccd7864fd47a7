//! One file of accounts as rows: what is well formed can be asked, what is not stays as it is.
//! Knows nothing of what the fields mean.

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Row<'a> {
    /// With its end.
    raw: &'a [u8],
    /// Empty for what is no account: comments, NIS lines, anything malformed.
    fields: Vec<&'a [u8]>,
}

/// One file.
#[derive(Clone, Debug)]
pub(super) struct Table<'a> {
    rows: Vec<Row<'a>>,
}

/// Which fields a file has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// How many there are.
    pub(super) count: usize,
    /// Which of them are numbers.
    pub(super) numbers: &'static [usize],
}

/// The well-formed row of one account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account<'a> {
    fields: &'a [&'a [u8]],
}

impl<'a> Account<'a> {
    pub(super) fn name(&self) -> &'a [u8] {
        self.text(0)
    }

    pub(super) fn text(&self, at: usize) -> &'a [u8] {
        self.fields.get(at).copied().unwrap_or_default()
    }

    pub(super) fn fields(&self) -> &'a [&'a [u8]] {
        self.fields
    }

    /// Returns a field that the shape says is a number.
    pub(super) fn number(&self, at: usize) -> u32 {
        number(self.text(at)).unwrap_or_default()
    }
}

pub(super) fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    text.parse().ok()
}

impl<'a> Table<'a> {
    pub(super) fn parse(contents: &'a [u8], shape: Shape) -> Table<'a> {
        let rows = contents.split_inclusive(|byte| *byte == b'\n');
        Table {
            rows: rows.map(|raw| Row::parse(raw, shape)).collect(),
        }
    }

    /// Returns the well-formed accounts in their order.
    pub(super) fn accounts(&self) -> impl Iterator<Item = Account<'_>> {
        self.rows
            .iter()
            .filter(|row| !row.fields.is_empty())
            .map(|row| Account {
                fields: &row.fields,
            })
    }

    /// Returns the first account of that name: the one that the system finds.
    pub(super) fn find(&self, name: &[u8]) -> Option<Account<'_>> {
        self.accounts().find(|account| account.name() == name)
    }

    /// Returns the first account with that number in field `at` that is found by its name too.
    pub(super) fn find_number(&self, at: usize, id: u32) -> Option<Account<'_>> {
        let is_found = |account: &Account<'_>| {
            let first = self.find(account.name());
            first.is_some_and(|first| first.number(at) == id)
        };
        let mut same = self.accounts().filter(|account| account.number(at) == id);
        same.find(is_found)
    }

    /// Tells whether the number belongs to that name: to the first account that has it.
    pub(super) fn knows_as(&self, at: usize, id: u32, name: &[u8]) -> bool {
        self.find_number(at, id)
            .is_some_and(|account| account.name() == name)
    }

    /// Tells whether a line begins with that name, well formed or not.
    pub(super) fn mentions(&self, name: &[u8]) -> bool {
        self.rows
            .iter()
            .any(|row| row.raw.trim_ascii_end().split(|b| *b == b':').next() == Some(name))
    }

    /// Returns the file with `added` lines (without ends) before the first NIS line: what stands
    /// behind `+` is never reached.
    pub(super) fn with(&self, added: &[Vec<u8>]) -> Vec<u8> {
        let is_nis = |row: &Row<'_>| row.raw.starts_with(b"+") || row.raw.starts_with(b"-");
        let place = self.rows.iter().position(is_nis);
        let place = place.unwrap_or(self.rows.len());
        let (before, after) = self.rows.split_at(place);
        let mut contents: Vec<u8> = before.iter().flat_map(|row| row.raw).copied().collect();
        if !added.is_empty() && !contents.is_empty() && !contents.ends_with(b"\n") {
            contents.push(b'\n');
        }
        for line in added {
            contents.extend_from_slice(line);
            contents.push(b'\n');
        }
        contents.extend(after.iter().flat_map(|row| row.raw));
        contents
    }
}

impl<'a> Row<'a> {
    fn parse(raw: &'a [u8], shape: Shape) -> Row<'a> {
        let line = raw.strip_suffix(b"\n").unwrap_or(raw);
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let name = fields.first().copied().unwrap_or_default();
        let is_name = name.first().is_some_and(|first| !b"+-#".contains(first))
            && !name.iter().any(u8::is_ascii_whitespace)
            && !name.contains(&0);
        let has_numbers = shape
            .numbers
            .iter()
            .all(|at| fields.get(*at).copied().and_then(number).is_some());
        let is_account = is_name && fields.len() == shape.count && has_numbers;
        Row {
            raw,
            fields: match is_account {
                true => fields,
                false => Vec::new(),
            },
        }
    }
}
