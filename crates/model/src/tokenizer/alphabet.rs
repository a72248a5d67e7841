//! The byte alphabet of GPT-2: each byte is written as one printable character.

/// The character of a byte: printable Latin-1 stands for itself, the other 68 bytes follow from
/// U+0100 on in their order.
pub(super) const fn character(byte: u8) -> char {
    let moved = match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => return byte as char,
        0x00..=0x20 => byte as u32,
        0x7f..=0xa0 => byte as u32 - 0x7f + 33,
        0xad => 67,
    };
    match char::from_u32(0x100 + moved) {
        Some(character) => character,
        None => unreachable!(),
    }
}

/// The byte of a character.
pub(super) fn byte(character: char) -> Option<u8> {
    Some(match character as u32 {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => code as u8,
        code @ 0x100..=0x120 => (code - 0x100) as u8,
        code @ 0x121..=0x142 => (code - 0x121) as u8 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    })
}

/// Appends the bytes of a token's text. A character outside the alphabet stands for itself.
pub(super) fn decode(text: &str, out: &mut Vec<u8>) {
    for found in text.chars() {
        match byte(found) {
            Some(byte) => out.push(byte),
            None => out.extend(found.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_from_its_character() {
        for value in 0..=255 {
            assert_eq!(byte(character(value)), Some(value));
        }
        assert_eq!(
            [character(b' '), character(b'\n'), character(0xad)],
            ['Ġ', 'Ċ', 'Ń']
        );
    }
}
