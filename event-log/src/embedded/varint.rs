//! Numbers of the stored forms: LEB128, small ones in one byte. Frozen.

use super::status::Failure;

pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Signed numbers: small ones of either sign stay small.
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what was put, and never past the end.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Cursor { bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn number(&mut self) -> Result<u64, Failure> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or_else(cut_short)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Failure::Damage("a number in a stored row has no end".into()))
    }

    pub(super) fn small(&mut self) -> Result<u32, Failure> {
        u32::try_from(self.number()?).map_err(|_| Failure::Damage("a number in a stored row is too large".into()))
    }

    pub(super) fn signed(&mut self) -> Result<i64, Failure> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Where the bytes lie.
    pub(super) fn range(&mut self) -> Result<std::ops::Range<usize>, Failure> {
        let length = usize::try_from(self.number()?).map_err(|_| cut_short())?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or_else(cut_short)?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    pub(super) fn slice(&mut self) -> Result<&'a [u8], Failure> {
        Ok(&self.bytes[self.range()?])
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Failure> {
        std::str::from_utf8(self.slice()?).map_err(|_| Failure::Damage("a name in a stored row is no text".into()))
    }
}

fn cut_short() -> Failure {
    Failure::Damage("a stored row is cut short".into())
}
