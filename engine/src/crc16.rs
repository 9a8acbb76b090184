//! CRC16 as Redis Cluster uses it (XMODEM: polynomial 0x1021, start 0, not reflected).
//!
//! Lives here: the checksum over eight tables, eight bytes a step.
//! Not here: hash tags and slots (`slot`).
//!
//! Invariant: the result depends on the bytes alone; the tables are computed by the compiler.

const POLYNOMIAL: u16 = 0x1021;
const TABLES: [[u16; 256]; 8] = tables();

/// CRC16/XMODEM of `bytes`; `crc16(b"123456789") == 0x31c3`.
pub fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        // Table k holds the effect of a byte that k more bytes follow.
        crc = TABLES[7][usize::from(word[0] ^ (crc >> 8) as u8)]
            ^ TABLES[6][usize::from(word[1] ^ (crc & 0xff) as u8)]
            ^ TABLES[5][usize::from(word[2])]
            ^ TABLES[4][usize::from(word[3])]
            ^ TABLES[3][usize::from(word[4])]
            ^ TABLES[2][usize::from(word[5])]
            ^ TABLES[1][usize::from(word[6])]
            ^ TABLES[0][usize::from(word[7])];
    }
    for byte in rest {
        crc = (crc << 8) ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc
}

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= POLYNOMIAL;
            }
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[table - 1][byte];
            tables[table][byte] = (crc << 8) ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
    }

    fn bit_by_bit(bytes: &[u8]) -> u16 {
        let mut crc = 0u16;
        for byte in bytes {
            crc ^= u16::from(*byte) << 8;
            for _ in 0..8 {
                crc = if crc & 0x8000 != 0 { (crc << 1) ^ POLYNOMIAL } else { crc << 1 };
            }
        }
        crc
    }

    proptest! {
        #[test]
        fn tables_agree_with_the_definition(bytes: Vec<u8>) {
            prop_assert_eq!(crc16(&bytes), bit_by_bit(&bytes));
        }
    }
}
