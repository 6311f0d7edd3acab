//! A file's words in memory, as every process that maps it sees them.
//!
//! Memory that other processes change can be read by raw pointers only. So this file, and no other of
//! the engine, has unsafe code: it hands out atomic words, checked to be inside.

#![allow(unsafe_code)]
#![allow(clippy::cast_ptr_alignment)] // a mapping begins at a page

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

/// Bytes of a word.
pub(super) const WORD: usize = size_of::<u64>();

/// The words of a file.
#[derive(Debug)]
pub(super) struct Map {
    map: MmapRaw,
    words: usize,
}

impl Map {
    /// Maps so many words of a file, which is at least as long and is never made shorter.
    pub(super) fn of(file: &File, words: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(words * WORD).map_raw(file)?;
        Ok(Self { map, words })
    }

    pub(super) const fn words(&self) -> usize {
        self.words
    }

    /// A word, by its place.
    #[inline(always)]
    pub(super) fn word(&self, place: usize) -> &AtomicU64 {
        assert!(place < self.words, "a word outside of the file");
        // SAFETY: the place is inside of the mapping, which lives as long as this; a mapping begins at
        // a page, so its words are aligned; and nobody reads or writes them but as atomic words.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(place)) }
    }
}
