//! One file of accounts as rows: what is well formed can be asked, what is not stays as it is.
//! Knows nothing of what the fields mean.

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Row<'a> {
    /// With its end.
    raw: &'a [u8],
    fields: Vec<&'a [u8]>,
    /// Whether it is well formed; comments and NIS lines are no accounts.
    is_account: bool,
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
            .filter(|row| row.is_account)
            .map(|row| Account {
                fields: &row.fields,
            })
    }

    /// Returns the first account of that name: the one that the system finds.
    pub(super) fn find(&self, name: &[u8]) -> Option<Account<'_>> {
        self.accounts().find(|account| account.name() == name)
    }

    /// Returns names and their numbers in field `at`, also of malformed lines: C libraries take a
    /// row that lacks its last fields, and so they are in use.
    pub(super) fn numbered(&self, at: usize) -> impl Iterator<Item = (&'a [u8], u32)> {
        let named = self.rows.iter().filter(|row| is_name(row.name()));
        named.filter_map(move |row| {
            let field = row.fields.get(at).copied()?;
            Some((row.name(), number(field)?))
        })
    }

    /// Returns the number in field `at` that the system finds by a name.
    pub(super) fn number_of(&self, at: usize, name: &[u8]) -> Option<u32> {
        let mut numbered = self.numbered(at);
        numbered.find(|(other, _)| *other == name).map(|(_, id)| id)
    }

    /// Returns to whom a number in field `at` belongs: the first name with it that is found by its
    /// name too.
    pub(super) fn owner_of(&self, at: usize, id: u32) -> Option<&'a [u8]> {
        let mut same = self.numbered(at).filter(|(_, other)| *other == id);
        let found = same.find(|(name, _)| self.number_of(at, name) == Some(id));
        found.map(|(name, _)| name)
    }

    /// Tells whether a line begins with that name, well formed or not.
    pub(super) fn mentions(&self, name: &[u8]) -> bool {
        self.rows
            .iter()
            .any(|row| row.name().trim_ascii_end() == name)
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
        let has_numbers = shape
            .numbers
            .iter()
            .all(|at| fields.get(*at).copied().and_then(number).is_some());
        let name = fields.first().copied().unwrap_or_default();
        let is_account = is_name(name) && fields.len() == shape.count && has_numbers;
        Row {
            raw,
            fields,
            is_account,
        }
    }

    /// Returns what stands before the first colon.
    fn name(&self) -> &'a [u8] {
        self.fields.first().copied().unwrap_or_default()
    }
}

/// Tells whether an account can be called so: a comment or a line of NIS is called otherwise.
fn is_name(name: &[u8]) -> bool {
    name.first().is_some_and(|first| !b"+-#".contains(first))
        && !name.iter().any(u8::is_ascii_whitespace)
        && !name.contains(&0)
}
