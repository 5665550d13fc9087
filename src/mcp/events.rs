//! Server-sent events (WHATWG HTML, section 9.2), read from the bytes of a response within a bound.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The value of its last `id` field; a client may go on from there.
    pub id: Option<String>,
    /// Its `data` fields, joined with line feeds.
    pub data: Vec<u8>,
    /// How long to wait before connecting again, in milliseconds, when the event says it.
    pub retry: Option<u64>,
}

/// An event that is larger than it may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {0} bytes")]
pub struct EventTooLarge(pub usize);

/// Takes chunks of bytes in and gives whole events out.
#[derive(Debug)]
pub struct EventReader {
    limit: usize,
    /// The line so far.
    line: Vec<u8>,
    /// The event so far.
    event: Event,
    has_data: bool,
    /// Bytes of the event so far, of all its fields.
    size: usize,
    /// The last byte was a carriage return: a line feed after it ends no second line.
    after_return: bool,
    /// Bytes seen in all, up to the length of a byte order mark.
    started: bool,
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

impl EventReader {
    /// A reader of events of at most `limit` bytes each.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            event: Event::default(),
            has_data: false,
            size: 0,
            after_return: false,
            started: false,
        }
    }

    /// Takes a chunk in, and adds the events that end in it to `events`.
    ///
    /// # Errors
    /// The event under way is too large. Nothing can be read from the stream any more.
    pub fn take_in(&mut self, chunk: &[u8], events: &mut Vec<Event>) -> Result<(), EventTooLarge> {
        let mut rest = chunk;
        if self.after_return && rest.first() == Some(&b'\n') {
            rest = rest.get(1..).unwrap_or_default();
        }
        if !chunk.is_empty() {
            self.after_return = false;
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, after) = rest.split_at(end);
            self.grow(line)?;
            self.end_line(events);
            let is_return = after.first() == Some(&b'\r');
            rest = after.get(1..).unwrap_or_default();
            if is_return {
                match rest.first() {
                    Some(b'\n') => rest = rest.get(1..).unwrap_or_default(),
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
        }
        self.grow(rest)
    }

    fn grow(&mut self, part: &[u8]) -> Result<(), EventTooLarge> {
        self.size = self.size.saturating_add(part.len());
        if self.size > self.limit {
            return Err(EventTooLarge(self.limit));
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<Event>) {
        let mut line = std::mem::take(&mut self.line);
        if !self.started {
            self.started = true;
            if line.starts_with(BYTE_ORDER_MARK) {
                line.drain(..BYTE_ORDER_MARK.len());
            }
        }
        if line.is_empty() {
            self.size = 0;
            let mut event = std::mem::take(&mut self.event);
            let has_data = std::mem::take(&mut self.has_data);
            if event.data.last() == Some(&b'\n') {
                event.data.pop();
            }
            if has_data || event.id.is_some() || event.retry.is_some() {
                events.push(event);
            }
            return;
        }
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default()),
            None => (line.as_slice(), &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                self.has_data = true;
                self.event.data.extend_from_slice(value);
                self.event.data.push(b'\n');
            }
            b"id" if !value.contains(&0) => {
                self.event.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" => {
                let digits =
                    std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                self.event.retry = digits.and_then(|digits| digits.parse().ok()).or(self.event.retry);
            }
            // A comment, the event's name, or a field of another time.
            _ => {}
        }
        // The buffer is used again.
        line.clear();
        self.line = line;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&[u8]]) -> Vec<(Option<String>, String)> {
        let mut reader = EventReader::new(1_000);
        let mut events = Vec::new();
        for chunk in chunks {
            reader.take_in(chunk, &mut events).unwrap();
        }
        events.into_iter().map(|event| (event.id, String::from_utf8(event.data).unwrap())).collect()
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let text = "\u{feff}: hi\nid: 1\nevent: message\ndata: {\"a\":1}\n\ndata:x\r\ndata\rdata:  y\r\n\r\nretry: 5\n\ndata: end\n\ndata: open";
        let whole = read(&[text.as_bytes()]);
        let expected = [
            (Some("1".to_owned()), "{\"a\":1}".to_owned()),
            (None, "x\n\n y".to_owned()),
            (None, String::new()),
            (None, "end".to_owned()),
        ];
        assert_eq!(whole, expected);
        for cut in 1..text.len() {
            let (one, two) = text.as_bytes().split_at(cut);
            assert_eq!(read(&[one, two]), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(read(&single), whole);
    }

    #[test]
    fn an_event_is_bounded_and_small_ones_are_not_added_up() {
        let mut reader = EventReader::new(20);
        let mut events = Vec::new();
        for _ in 0..10 {
            reader.take_in(b"data: 0123456789\n\n", &mut events).unwrap();
        }
        assert_eq!(events.len(), 10);
        assert_eq!(reader.take_in(b"data: 0123456789\ndata: 0123", &mut events), Err(EventTooLarge(20)));
        let mut reader = EventReader::new(20);
        assert_eq!(reader.take_in(&[b'x'; 21], &mut events), Err(EventTooLarge(20)));
    }
}
