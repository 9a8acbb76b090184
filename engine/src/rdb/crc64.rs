//! The checksum at the end of an RDB file.
//!
//! Lives here: CRC-64 as Redis uses it (polynomial `ad93d23594c935a9` of Jones, reflected, start 0, no final
//! change), eight bytes at a step.
//! Not here: what it covers (`writer`, `loader`).

/// The polynomial with its bits reversed.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// `TABLES[n][byte]`: what `byte` does to the checksum when `n` more bytes follow it.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut index = 1;
    while index < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[index - 1][byte];
            tables[index][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        index += 1;
    }
    tables
}

/// Checksum of the bytes that `crc` stands for, followed by `bytes`. Begin with 0.
pub fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    let mut crc = crc;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mixed = (crc ^ u64::from_le_bytes(*word)).to_le_bytes();
        crc = 0;
        for (byte, table) in mixed.iter().zip(TABLES.iter().rev()) {
            crc ^= table[usize::from(*byte)];
        }
    }
    for byte in rest {
        crc = crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)];
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_of_the_polynomial() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(0, b""), 0);
    }

    proptest! {
        #[test]
        fn pieces_give_the_checksum_of_the_whole(bytes: Vec<u8>, at in 0..100usize) {
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(crc64(crc64(0, first), second), crc64(0, &bytes));
        }
    }
}
