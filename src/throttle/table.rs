//! Where the rows are: a header with a random key, a region of rows that make room for others, and
//! a region with a row per user, which grows.
//!
//! A row's place is its bucket, found by a keyed hash of what it is about, and any of the bucket's
//! rows. What is read may be anything: a header that makes no sense is made anew, a row that isn't
//! where it belongs is a free one.

use std::hash::Hasher as _;
use std::io;

use siphasher::sip128::{Hash128, Hasher128 as _, SipHasher13};

/// Bytes that can be read and written by whoever alone has them for the moment.
pub trait Bytes {
    /// How many there are.
    fn size(&mut self) -> io::Result<u64>;
    /// Fills `into` from an offset; short only at the end, the rest is left as it is.
    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()>;
    /// Writes within the length.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes them more: zeroes, which can be written later without asking for space.
    fn grow_to(&mut self, len: u64) -> io::Result<()>;
    /// Makes them none.
    fn empty(&mut self) -> io::Result<()>;
}

/// In the memory of this process.
impl Bytes for Vec<u8> {
    fn size(&mut self) -> io::Result<u64> {
        Ok(Vec::len(self) as u64)
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let from = self.get(at as usize..).unwrap_or_default();
        let len = from.len().min(into.len());
        into[..len].copy_from_slice(&from[..len]);
        Ok(())
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = at as usize;
        let place = self.get_mut(at..at + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    fn grow_to(&mut self, len: u64) -> io::Result<()> {
        self.resize(len as usize, 0);
        Ok(())
    }

    fn empty(&mut self) -> io::Result<()> {
        Vec::clear(self);
        Ok(())
    }
}

/// What the file begins with, without the number of its form.
pub const KIND: &[u8; 7] = b"OTPTRIE";
const MAGIC: &[u8; 8] = b"OTPTRIE1";
const HEADER_LEN: u64 = 4096;
/// Of a row, in bytes.
pub const ROW_LEN: usize = 128;
const BUCKET_ROWS: usize = 32;
const BUCKET_LEN: usize = ROW_LEN * BUCKET_ROWS;
/// Two mebibytes: 16,384 rows.
const EVICTABLE_BUCKETS: u64 = 512;
/// A quarter of one: 2,048 users, until there are more.
const USER_BUCKETS: u64 = 64;
/// Four gibibytes. There are never so many users.
const USER_BUCKETS_MAX: u64 = 1 << 20;

/// What a row is about, as a keyed hash.
pub type Id = [u8; 16];
/// A row's bytes; the first sixteen are its id, and all zero a free row.
pub type Row = [u8; ROW_LEN];

/// Which region.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// Rows give way to others.
    Evictable,
    /// Rows stay while they count.
    Users,
}

/// A row and where it is.
pub struct RowPlace {
    at: u64,
    /// All zero after the id: it is new.
    pub row: Row,
}

/// All rows, for one step of whoever has them for the moment: it finds some, and saves them.
pub struct TryTable<'b> {
    bytes: &'b mut dyn Bytes,
    key: [u8; 16],
    user_buckets: u64,
    /// Where rows are that were found and perhaps not saved yet: no place for another.
    taken: Vec<u64>,
}

impl<'b> TryTable<'b> {
    /// Reads the header. What has none gets one.
    pub fn open(bytes: &'b mut dyn Bytes) -> io::Result<TryTable<'b>> {
        let mut header = [0; 32];
        bytes.read_at(0, &mut header)?;
        let len = bytes.size()?;
        let user_buckets = u64::from_le_bytes(header[24..].try_into().expect("eight bytes"));
        let is_ours = header[..8] == *MAGIC
            && (USER_BUCKETS..=USER_BUCKETS_MAX).contains(&user_buckets)
            && user_buckets.is_power_of_two()
            && len >= size(user_buckets);
        if is_ours {
            let key = header[8..24].try_into().expect("sixteen bytes");
            return Ok(TryTable { bytes, key, user_buckets, taken: Vec::new() });
        }
        if header[..7] == *KIND && header[..8] != *MAGIC {
            return Err(io::Error::other("it is from another version of otpgate"));
        }
        bytes.empty()?;
        bytes.grow_to(size(USER_BUCKETS))?;
        let mut key = [0; 16];
        getrandom::fill(&mut key)
            .map_err(|_| io::Error::other("the system has no random bytes"))?;
        header[..8].copy_from_slice(MAGIC);
        header[8..24].copy_from_slice(&key);
        header[24..].copy_from_slice(&USER_BUCKETS.to_le_bytes());
        bytes.write_at(0, &header)?;
        Ok(TryTable { bytes, key, user_buckets: USER_BUCKETS, taken: Vec::new() })
    }

    /// What a row is called that is about these parts.
    pub fn id(&self, parts: &[&[u8]]) -> Id {
        let mut hash = SipHasher13::new_with_key(&self.key);
        for part in parts {
            // Lengths keep parts apart.
            hash.write(&(part.len() as u64).to_le_bytes());
            hash.write(part);
        }
        let Hash128 { h1, h2 } = hash.finish128();
        let mut id = [0; 16];
        // Never all zero, which is no row.
        id[..8].copy_from_slice(&(h1 | 1).to_le_bytes());
        id[8..].copy_from_slice(&h2.to_le_bytes());
        id
    }

    /// The row with an id, or a new one in the place of a free one. Where there is none, one has to
    /// go: of those rows of the bucket for which `worth` says the least. `None` of it: that row
    /// stays, and if all do, a region of users grows.
    pub fn find(
        &mut self,
        region: Region,
        id: Id,
        worth: &dyn Fn(&Row) -> Option<u64>,
    ) -> io::Result<RowPlace> {
        loop {
            let number = self.bucket_of(region, &id);
            let at = start_of(region) + number * BUCKET_LEN as u64;
            let mut bucket = [0; BUCKET_LEN];
            self.bytes.read_at(at, &mut bucket)?;
            let mut free = None;
            let mut least: Option<(u64, usize)> = None;
            for (slot, row) in bucket.chunks_exact(ROW_LEN).enumerate() {
                let row: &Row = row.try_into().expect("a chunk has its length");
                let place = at + (slot * ROW_LEN) as u64;
                if row[..16] == id {
                    self.taken.push(place);
                    return Ok(RowPlace { at: place, row: *row });
                }
                if self.taken.contains(&place) {
                    continue;
                }
                let is_free = row[..16] == [0; 16] || self.bucket_of(region, &id_of(row)) != number;
                if is_free {
                    free = free.or(Some(slot));
                } else if let Some(worth) = worth(row)
                    && least.is_none_or(|(known, _)| worth < known)
                {
                    least = Some((worth, slot));
                }
            }
            if let Some(slot) = free.or(least.map(|(_, slot)| slot)) {
                let mut row = [0; ROW_LEN];
                row[..16].copy_from_slice(&id);
                let place = at + (slot * ROW_LEN) as u64;
                self.taken.push(place);
                return Ok(RowPlace { at: place, row });
            }
            match region {
                Region::Users => self.grow()?,
                Region::Evictable => unreachable!("a step has fewer rows than a bucket"),
            }
        }
    }

    /// Writes a row back.
    pub fn save(&mut self, place: &RowPlace) -> io::Result<()> {
        self.bytes.write_at(place.at, &place.row)
    }

    fn bucket_of(&self, region: Region, id: &Id) -> u64 {
        let hash = u64::from_le_bytes(id[8..].try_into().expect("eight bytes"));
        match region {
            Region::Evictable => hash % EVICTABLE_BUCKETS,
            Region::Users => hash % self.user_buckets,
        }
    }

    /// Doubles the region of users. Rows are copied to where they belong and then counted as there:
    /// whoever is killed in between leaves all as it was.
    fn grow(&mut self) -> io::Result<()> {
        let before = self.user_buckets;
        if before >= USER_BUCKETS_MAX {
            return Err(io::Error::other("there are more users than it can hold"));
        }
        self.bytes.grow_to(size(before * 2))?;
        let start = start_of(Region::Users);
        self.user_buckets = before * 2;
        for number in 0..before {
            let mut bucket = [0; BUCKET_LEN];
            self.bytes.read_at(start + number * BUCKET_LEN as u64, &mut bucket)?;
            for row in bucket.chunks_exact_mut(ROW_LEN) {
                let id = id_of((&*row).try_into().expect("a chunk has its length"));
                if self.bucket_of(Region::Users, &id) != number + before {
                    row.fill(0);
                }
            }
            self.bytes.write_at(start + (number + before) * BUCKET_LEN as u64, &bucket)?;
        }
        self.bytes.write_at(24, &self.user_buckets.to_le_bytes())
    }
}

fn id_of(row: &Row) -> Id {
    row[..16].try_into().expect("a row is longer")
}

fn start_of(region: Region) -> u64 {
    match region {
        Region::Evictable => HEADER_LEN,
        Region::Users => HEADER_LEN + EVICTABLE_BUCKETS * BUCKET_LEN as u64,
    }
}

fn size(user_buckets: u64) -> u64 {
    start_of(Region::Users) + user_buckets * BUCKET_LEN as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stays(_: &Row) -> Option<u64> {
        None
    }

    #[test]
    fn a_row_is_found_again_by_what_it_is_about() {
        let mut bytes = Vec::new();
        let mut table = TryTable::open(&mut bytes).unwrap();
        let id = table.id(&[b"user", b"alice"]);
        let mut place = table.find(Region::Users, id, &stays).unwrap();
        place.row[100] = 7;
        table.save(&place).unwrap();
        let mut table = TryTable::open(&mut bytes).unwrap();
        let id = table.id(&[b"user", b"alice"]);
        assert_eq!(table.find(Region::Users, id, &stays).unwrap().row[100], 7);
        let other = table.id(&[b"usera", b"lice"]);
        assert_eq!(table.find(Region::Users, other, &stays).unwrap().row[100], 0);
    }

    #[test]
    fn rows_that_stay_are_all_found_after_growing() {
        let mut bytes = Vec::new();
        let table = TryTable::open(&mut bytes).unwrap();
        let ids: Vec<Id> = (0..20_000u32).map(|i| table.id(&[&i.to_le_bytes()])).collect();
        for (i, &id) in ids.iter().enumerate() {
            let mut table = TryTable::open(&mut bytes).unwrap();
            let mut place = table.find(Region::Users, id, &stays).unwrap();
            place.row[64..72].copy_from_slice(&(i as u64).to_le_bytes());
            table.save(&place).unwrap();
        }
        for (i, &id) in ids.iter().enumerate() {
            let mut table = TryTable::open(&mut bytes).unwrap();
            assert!(table.user_buckets > USER_BUCKETS);
            let place = table.find(Region::Users, id, &stays).unwrap();
            assert_eq!(place.row[64..72], (i as u64).to_le_bytes());
        }
    }

    #[test]
    fn of_rows_that_give_way_the_one_worth_least_goes() {
        let mut bytes = Vec::new();
        let mut table = TryTable::open(&mut bytes).unwrap();
        let worth = |row: &Row| Some(u64::from(row[64]));
        let kept = table.id(&[b"kept"]);
        let mut place = table.find(Region::Evictable, kept, &worth).unwrap();
        place.row[64] = 9;
        table.save(&place).unwrap();
        for i in 0..100_000u32 {
            let mut table = TryTable::open(&mut bytes).unwrap();
            let id = table.id(&[&i.to_le_bytes()]);
            let mut place = table.find(Region::Evictable, id, &worth).unwrap();
            place.row[64] = 1;
            table.save(&place).unwrap();
        }
        let mut table = TryTable::open(&mut bytes).unwrap();
        assert_eq!(table.find(Region::Evictable, kept, &worth).unwrap().row[64], 9);
        assert_eq!(bytes.len() as u64, size(USER_BUCKETS));
    }

    #[test]
    fn whatever_stands_there_is_used_or_made_anew() {
        for damage in [
            (0, b"nothing ".to_vec()),
            (24, 3u64.to_le_bytes().to_vec()),
            (24, u64::MAX.to_le_bytes().to_vec()),
            (24, (USER_BUCKETS * 2).to_le_bytes().to_vec()),
        ] {
            let mut bytes = Vec::new();
            TryTable::open(&mut bytes).unwrap();
            bytes[damage.0..damage.0 + damage.1.len()].copy_from_slice(&damage.1);
            let mut table = TryTable::open(&mut bytes).unwrap();
            let id = table.id(&[b"x"]);
            assert_eq!(table.user_buckets, USER_BUCKETS);
            table.find(Region::Users, id, &stays).unwrap();
        }
        let mut newer = vec![0; 64];
        newer[..8].copy_from_slice(b"OTPTRIE2");
        assert!(TryTable::open(&mut newer.clone()).is_err());
        let mut bytes = vec![0xa5; size(USER_BUCKETS) as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[24..32].copy_from_slice(&USER_BUCKETS.to_le_bytes());
        let mut table = TryTable::open(&mut bytes).unwrap();
        let id = table.id(&[b"x"]);
        assert_eq!(table.find(Region::Users, id, &stays).unwrap().row[16..], [0; ROW_LEN - 16]);
    }
}
