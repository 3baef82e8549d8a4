//! Changes of valid input that an input of the fuzzer spells out: so that it need not find by chance what has a length, a
//! checksum or a signature.

/// Longest that a part may become; above every limit on a single part of evidence.
const LONGEST: usize = 32 * 1024;
/// Changes that one input may spell.
const CHANGES: usize = 24;

/// The bytes of an input, read from the front. Behind the end there are zeros.
pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(n.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// `sound`, or the script's next bytes in its place.
    pub fn one_of<const N: usize>(&mut self, sound: [u8; N]) -> [u8; N] {
        let mut value = sound;
        match self.byte() % 4 {
            0 => value.iter_mut().for_each(|byte| *byte = self.byte()),
            1 => {
                let (at, by) = (usize::from(self.byte()) % N, self.byte());
                value[at] = value[at].wrapping_add(by);
            }
            _ => {}
        }
        value
    }

    fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// Changes `parts` until the script ends or says that this was all. `others` are parts of other valid evidence.
    pub fn change(&mut self, parts: &mut [Vec<u8>], others: &[&[u8]]) {
        for _ in 0..CHANGES {
            if self.is_over() || !self.change_once(parts, others) {
                return;
            }
        }
    }

    fn change_once(&mut self, parts: &mut [Vec<u8>], others: &[&[u8]]) -> bool {
        let (kind, which) = (self.byte() % 12, usize::from(self.byte()) % parts.len());
        let at = |script: &mut Self, part: &[u8]| script.number() % part.len().max(1);
        let part = &mut parts[which];
        match kind {
            0 => return false,
            1 => {
                let (at, bit) = (at(self, part), self.byte() % 8);
                part.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            2 => {
                let (at, value) = (at(self, part), self.byte());
                part.iter_mut().skip(at).take(1).for_each(|byte| *byte = value);
            }
            3 => {
                let (at, by) = (at(self, part), self.byte());
                part.iter_mut().skip(at).take(1).for_each(|byte| *byte = byte.wrapping_add(by));
            }
            4 => {
                let (at, n) = (at(self, part), usize::from(self.byte() % 32));
                let at = at.min(part.len());
                part.splice(at..at, self.bytes(n).iter().copied());
            }
            5 => {
                let (at, n) = (at(self, part), usize::from(self.byte()));
                part.drain(at.min(part.len())..part.len().min(at + n));
            }
            6 => {
                let (from, to, n) = (at(self, part), at(self, part), usize::from(self.byte()));
                let copied: Vec<u8> = part.iter().skip(from).take(n).copied().collect();
                part.iter_mut().skip(to).zip(copied).for_each(|(to, from)| *to = from);
            }
            7 => {
                let (to, n) = (at(self, part), self.number());
                let other = usize::from(self.byte()) % others.len();
                let copied = others[other].iter().skip(to).take(n);
                parts[which].iter_mut().skip(to).zip(copied).for_each(|(to, from)| *to = *from);
            }
            8 => {
                let other = usize::from(self.byte()) % parts.len();
                parts.swap(which, other);
            }
            9 => {
                let at = at(self, part);
                part.truncate(at);
            }
            10 => *part = others[usize::from(self.byte()) % others.len()].to_vec(),
            _ => {
                let (n, fill) = (usize::from(self.byte()), self.byte());
                part.resize(part.len() + n, fill);
            }
        }
        parts[which].truncate(LONGEST);
        true
    }
}
