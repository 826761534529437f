//! An HNSW graph over the first rows, built once and never changed.
//!
//! hnsw_rs builds it over the int8 forms; what is kept is who is linked to whom, as plain lists of row numbers. Searching
//! hnsw_rs's own structure spends about four fifths of its time on hashing, reference counts and small allocations, one fifth
//! on products, so that looking at *every* vector was faster up to some tens of thousands. The same search along the lists
//! takes a third of the time, needs no second copy of the vectors, and is read back from disk without hnsw_rs, which ends
//! the *process* on bad input.
//!
//! The graph proposes by int8 products; who asks scores its proposals in f32. Later rows are searched beside it and removed
//! ones filtered out, until there are enough of them to build a new one.
//!
//! On disk a graph is a folder of its own, written under a temporary name, checked, and renamed into place: `graph.json`
//! with the checksums, `rows.bin` with the key of each row, and `links.bin`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

use hnsw_rs::anndists::dist::distances::Distance;
use hnsw_rs::hnsw::Hnsw;
use serde::{Deserialize, Serialize};
use toolscout_core::ContentHash;

use super::products::{Factor, dot_i8};
use super::rows::{Quantised, Rows};
use super::scan::Total;
use crate::Error;

/// How densely the graph is knit. More of either is better recall, slower building and more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphOptions {
    /// Links per vector and layer (twice as many at the bottom), at most 255.
    pub links: usize,
    /// Vectors looked at when one is added.
    pub ef_build: usize,
    /// Vectors looked at in a search, at least.
    pub ef_search: usize,
}

impl Default for GraphOptions {
    fn default() -> Self {
        Self { links: 24, ef_build: 200, ef_search: 128 }
    }
}

/// Cosine distance of int8 vectors that carry their scale in the last four numbers.
#[derive(Debug, Clone, Copy, Default)]
struct CoarseCosine;

const SCALE_BYTES: usize = 4;

impl Distance<i8> for CoarseCosine {
    fn eval(&self, a: &[i8], b: &[i8]) -> f32 {
        let (a, a_scale) = split(a);
        let (b, b_scale) = split(b);
        // hnsw_rs panics below 0, where rounding puts near-duplicates.
        (1.0 - dot_i8(a, b) * a_scale * b_scale).max(0.0)
    }
}

fn join(values: &[i8], scale: f32) -> Vec<i8> {
    let mut joined = Vec::with_capacity(values.len() + SCALE_BYTES);
    joined.extend_from_slice(values);
    joined.extend(scale.to_le_bytes().map(|byte| byte as i8));
    joined
}

fn split(joined: &[i8]) -> (&[i8], f32) {
    let (values, scale) = joined.split_at(joined.len() - SCALE_BYTES);
    let byte = |i: usize| scale[i] as u8;
    (values, f32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)]))
}

/// A finished graph.
pub(crate) struct Graph {
    options: GraphOptions,
    len: usize,
    /// Where a search starts: a row of the topmost layer.
    entry: u32,
    /// Layer 0 holds every row, each one above about a `links`th of the one below.
    layers: Vec<Links>,
}

/// The links of one layer: row `r` is linked to `to[starts[r]..starts[r + 1]]`.
struct Links {
    starts: Vec<u32>,
    to: Vec<u32>,
}

impl Links {
    fn of(&self, row: u32) -> &[u32] {
        &self.to[self.starts[row as usize] as usize..self.starts[row as usize + 1] as usize]
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.starts.iter().chain(&self.to).flat_map(|number| number.to_le_bytes()));
    }

    /// Takes one layer of `len` rows off the front; `None` unless every link leads to a row.
    fn read(from: &mut impl Iterator<Item = u32>, len: usize) -> Option<Self> {
        let starts: Vec<u32> = from.take(len + 1).collect();
        let n_links = *starts.get(len)?;
        let to: Vec<u32> = from.take(n_links as usize).collect();
        let sound = starts[0] == 0
            && starts.is_sorted()
            && to.len() == n_links as usize
            && to.iter().all(|&row| (row as usize) < len);
        sound.then_some(Self { starts, to })
    }
}

/// `graph.json`.
#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    options: GraphOptions,
    /// Which model the vectors are from.
    model: String,
    n_rows: usize,
    dimension: usize,
    n_layers: usize,
    entry: u32,
    /// File name and sha256, for each of the others.
    files: Vec<(String, ContentHash)>,
}

const FORMAT: u32 = 2;
const FILES: [&str; 2] = ["rows.bin", "links.bin"];

/// A graph from disk, and which row stands where.
pub(crate) struct Loaded {
    pub(crate) graph: Graph,
    /// Key of each row, in the graph's order.
    pub(crate) keys: Vec<u64>,
}

impl Graph {
    /// Builds over all rows, on all cores; `None` if it was stopped. Two builds of the same rows differ: hnsw_rs draws
    /// levels at random.
    pub(crate) fn build(rows: &Rows, options: GraphOptions, stopped: &dyn Fn() -> bool) -> Option<Self> {
        let len = rows.len();
        let n_layers = 16;
        let hnsw = Hnsw::new(options.links.clamp(2, 255), len.max(1), n_layers, options.ef_build, CoarseCosine);
        // In portions, so that the joined copies do not double the memory.
        for start in (0..len).step_by(4096) {
            if stopped() {
                return None;
            }
            let range = start..(start + 4096).min(len);
            let joined: Vec<(Vec<i8>, usize)> = range
                .map(|row| {
                    let (values, scale) = rows.coarse(row as u32);
                    (join(values, scale), row)
                })
                .collect();
            let borrowed: Vec<(&Vec<i8>, usize)> = joined.iter().map(|(vector, row)| (vector, *row)).collect();
            hnsw.parallel_insert(&borrowed);
        }
        Some(Self::of_hnsw(&hnsw, options, len))
    }

    fn of_hnsw(hnsw: &Hnsw<'static, i8, CoarseCosine>, options: GraphOptions, len: usize) -> Self {
        let points = hnsw.get_point_indexation();
        let top = points.get_layer_iterator(usize::from(hnsw.get_max_level_observed())).next();
        let entry = top.map_or(0, |point| point.get_origin_id() as u32);
        // Layer by layer, row by row. A point is listed in the topmost layer it belongs to.
        let mut layers: Vec<Vec<Vec<u32>>> = Vec::new();
        for point in points {
            let linked = point.get_neighborhood_id();
            for (layer, neighbours) in linked.iter().enumerate().filter(|(_, neighbours)| !neighbours.is_empty()) {
                while layers.len() <= layer {
                    layers.push(vec![Vec::new(); len]);
                }
                layers[layer][point.get_origin_id()] = neighbours.iter().map(|n| n.get_origin_id() as u32).collect();
            }
        }
        let layers = layers
            .into_iter()
            .map(|rows| {
                let (mut starts, mut to) = (vec![0], Vec::new());
                for linked in rows {
                    to.extend(linked);
                    starts.push(u32::try_from(to.len()).expect("links of more rows than memory holds"));
                }
                Links { starts, to }
            })
            .collect();
        Self { options, len, entry, layers }
    }

    /// How many rows it knows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// About `n` rows near the query, in no particular order. `rows` are those it was built over, or more.
    ///
    /// Malkov and Yashunin 2016, algorithm 5: from the top down to the nearest row of each layer, then in the bottom layer
    /// along the links of the nearest row not yet visited, until it is farther than the `ef` nearest found so far.
    pub(crate) fn nearest(&self, rows: &Rows, query: &Quantised, n: usize) -> Vec<u32> {
        let Some((bottom, above)) = self.layers.split_first() else { return (0..self.len as u32).collect() };
        let factor = Factor::of(&query.values);
        let near = |row: u32| {
            let (values, scale) = rows.coarse(row);
            // The query's own scale is the same for all.
            factor.product(values) * scale
        };
        let mut at = (Total(near(self.entry)), self.entry);
        for layer in above.iter().rev() {
            while let Some(nearer) = layer.of(at.1).iter().map(|&row| (Total(near(row)), row)).max().filter(|n| *n > at)
            {
                at = nearer;
            }
        }
        let ef = self.options.ef_search.max(n);
        let mut visited = vec![0u64; self.len.div_ceil(64)];
        let mut visit = |row: u32| {
            let (word, bit) = (&mut visited[row as usize / 64], 1 << (row % 64));
            let first = *word & bit == 0;
            *word |= bit;
            first
        };
        visit(at.1);
        // The nearest on top; and the worst of the best `ef` on top.
        let mut ahead = BinaryHeap::from([at]);
        let mut best = BinaryHeap::with_capacity(ef + 1);
        best.push(Reverse(at));
        let mut fresh = Vec::new();
        while let Some(next) = ahead.pop() {
            let bar = best.peek().map_or(f32::MIN, |Reverse((Total(near), _))| *near);
            if best.len() == ef && next.0.0 < bar {
                break;
            }
            fresh.extend(bottom.of(next.1).iter().copied().filter(|&row| visit(row)));
            for row in fresh.drain(..) {
                let found = (Total(near(row)), row);
                let wanted = best.len() < ef || best.peek().is_some_and(|Reverse(worst)| found > *worst);
                if wanted {
                    ahead.push(found);
                    best.push(Reverse(found));
                    if best.len() > ef {
                        best.pop();
                    }
                }
            }
        }
        best.into_iter().map(|Reverse((_, row))| row).collect()
    }

    /// Writes the graph to the folder `at`, whole or not at all; what was there goes. `keys` are the rows' keys.
    pub(crate) fn save(&self, at: &Path, model: &str, keys: &[u64], dimension: usize) -> Result<(), Error> {
        let temporary = at.with_extension("tmp");
        remove_dir(&temporary)?;
        let io = |source| Error::Io { path: temporary.clone(), source };
        std::fs::create_dir_all(&temporary).map_err(io)?;
        let rows: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
        std::fs::write(temporary.join(FILES[0]), rows).map_err(io)?;
        let mut links = Vec::new();
        self.layers.iter().for_each(|layer| layer.write(&mut links));
        std::fs::write(temporary.join(FILES[1]), links).map_err(io)?;
        let files = FILES
            .iter()
            .map(|file| {
                let path = temporary.join(file);
                let opened = std::fs::File::open(&path).map_err(io)?;
                opened.sync_all().map_err(io)?;
                Ok(((*file).to_owned(), ContentHash::of(&std::fs::read(&path).map_err(io)?)))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let manifest = Manifest {
            format: FORMAT,
            options: self.options,
            model: model.to_owned(),
            n_rows: keys.len(),
            dimension,
            n_layers: self.layers.len(),
            entry: self.entry,
            files,
        };
        let json = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        std::fs::write(temporary.join("graph.json"), json).map_err(io)?;
        remove_dir(at)?;
        std::fs::rename(&temporary, at).map_err(|source| Error::Io { path: at.to_owned(), source })
    }

    /// Reads a graph back, if there is one, for this model and options, and every byte of it is as it was written.
    pub(crate) fn load(
        at: &Path,
        model: &str,
        dimension: usize,
        options: GraphOptions,
    ) -> Result<Option<Loaded>, Error> {
        let doubt = |why: &str| Err(Error::Graph(why.to_owned()));
        let Ok(json) = std::fs::read(at.join("graph.json")) else { return Ok(None) };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&json) else { return doubt("graph.json does not parse") };
        let same = manifest.format == FORMAT
            && manifest.model == model
            && manifest.dimension == dimension
            && manifest.options == options;
        if !same {
            return Ok(None);
        }
        let names: Vec<&str> = manifest.files.iter().map(|(name, _)| name.as_str()).collect();
        if names != FILES {
            return doubt("graph.json names other files");
        }
        for (name, hash) in &manifest.files {
            let bytes = std::fs::read(at.join(name)).map_err(|source| Error::Io { path: at.join(name), source })?;
            if ContentHash::of(&bytes) != *hash {
                return doubt("a file of the graph is not as it was written");
            }
        }
        let rows = std::fs::read(at.join(FILES[0])).map_err(|source| Error::Io { path: at.join(FILES[0]), source })?;
        let (chunks, rest) = rows.as_chunks::<8>();
        let keys: Vec<u64> = chunks.iter().map(|key| u64::from_le_bytes(*key)).collect();
        if !rest.is_empty() || keys.len() != manifest.n_rows {
            return doubt("rows.bin has another length");
        }
        let links = std::fs::read(at.join(FILES[1])).map_err(|source| Error::Io { path: at.join(FILES[1]), source })?;
        let mut numbers = links.as_chunks::<4>().0.iter().map(|number| u32::from_le_bytes(*number));
        let layers: Option<Vec<Links>> =
            (0..manifest.n_layers).map(|_| Links::read(&mut numbers, keys.len())).collect();
        let Some(layers) = layers.filter(|_| (manifest.entry as usize) < keys.len().max(1)) else {
            return doubt("links.bin leads to rows that are not there");
        };
        Ok(Some(Loaded { graph: Self { options, len: keys.len(), entry: manifest.entry, layers }, keys }))
    }
}

fn remove_dir(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
