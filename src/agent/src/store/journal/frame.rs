//! The frames of a journal.

/// Longest payload, bytes.
pub(super) const LONGEST: usize = 64 * 1024;
/// Length and CRC.
const HEAD: usize = 8;

/// Appends one frame to `out`; a payload that is too long is left out.
pub(super) fn put(out: &mut Vec<u8>, payload: &[u8]) -> bool {
    let Ok(length) = u32::try_from(payload.len()) else {
        return false;
    };
    if payload.is_empty() || payload.len() > LONGEST {
        return false;
    }
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(payload);
    true
}

/// Walks the payloads of sound frames. What is not sound is passed over, up to the next frame of a JSON object: no such
/// text has the bytes of a length in it, for it has no control characters.
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where the last sound frame walked so far ends.
    pub(super) fn sound(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (skipped, payload) = match frame(self.bytes.get(self.at..)?) {
            Some(payload) => (0, payload),
            None => self.beyond()?,
        };
        self.at += skipped + HEAD + payload.len();
        Some(payload)
    }
}

impl<'a> Frames<'a> {
    /// The next sound frame after a damaged place, and how far away it begins.
    fn beyond(&self) -> Option<(usize, &'a [u8])> {
        let rest = self.bytes.get(self.at..)?;
        (1..rest.len()).find_map(|skipped| {
            let here = rest.get(skipped..)?;
            // Most places are told by one look; the CRC is for the rest.
            (here.get(HEAD) == Some(&b'{')).then_some(())?;
            Some((skipped, frame(here)?))
        })
    }
}

/// The payload of the frame that these bytes begin with.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    // A length of 0 is what a file system leaves that had extended the file before the power failed.
    if length == 0 || length > LONGEST {
        return None;
    }
    let payload = rest.get(..length)?;
    (crc32fast::hash(payload) == u32::from_le_bytes(*crc)).then_some(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..12)
    }

    fn framed(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in payloads {
            assert!(put(&mut bytes, payload));
        }
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let mut frames = Frames::new(bytes);
        let read = frames.by_ref().map(<[u8]>::to_vec).collect();
        (read, frames.sound())
    }

    proptest! {
        #[test]
        fn whatever_is_cut_off_the_frames_before_it_stand(payloads in payloads(), cut in any::<prop::sample::Index>()) {
            let bytes = framed(&payloads);
            let cut = cut.index(bytes.len() + 1);
            let (read, sound) = read(&bytes[..cut]);
            prop_assert!(sound <= cut);
            prop_assert_eq!(&read[..], &payloads[..read.len()]);
            // Only the frame that was cut is missing.
            let next = payloads.get(read.len()).map_or(0, |p| p.len() + HEAD);
            prop_assert!(cut - sound < next.max(1));
        }

        #[test]
        fn a_flipped_bit_hides_no_frame_before_it_and_invents_none(
            payloads in payloads(), at in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let mut bytes = framed(&payloads);
            prop_assume!(!bytes.is_empty());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let (read, _) = read(&bytes);
            let mut end = 0;
            let before = payloads.iter().take_while(|p| {
                end += p.len() + HEAD;
                end <= at
            });
            let before = before.count();
            prop_assert_eq!(&read[..before], &payloads[..before]);
            prop_assert!(read.len() < payloads.len(), "a frame with a flipped bit was taken for sound");
            let mut all = payloads.iter();
            for payload in &read {
                prop_assert!(all.any(|p| p == payload), "a frame that never was");
            }
        }

        #[test]
        fn any_bytes_are_walked_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let (_, sound) = read(&bytes);
            prop_assert!(sound <= bytes.len());
        }
    }
}
