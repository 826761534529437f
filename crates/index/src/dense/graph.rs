//! An HNSW graph over the first rows, built once and never changed.
//!
//! It holds the int8 forms only (a quarter of the memory); who asks scores its proposals in f32.
//! Later rows are searched beside it and removed ones filtered out, until there are enough of them to build a new one.
//!
//! On disk a graph is a folder of its own, written under a temporary name, checked, and renamed into place: `graph.json`
//! with the checksums, `rows.bin` with the key of each row, and the two files of hnsw_rs. hnsw_rs ends the *process* on bad
//! input, so nothing is handed to it before its checksum was found right.

use std::path::Path;

use hnsw_rs::anndists::dist::distances::Distance;
use hnsw_rs::api::AnnT as _;
use hnsw_rs::hnsw::Hnsw;
use hnsw_rs::hnswio::HnswIo;
use serde::{Deserialize, Serialize};
use toolscout_core::ContentHash;

use super::rows::{Quantised, Rows, dot_i8};
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
    hnsw: Hnsw<'static, i8, CoarseCosine>,
    options: GraphOptions,
    len: usize,
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
    /// File name and sha256, for each of the others.
    files: Vec<(String, ContentHash)>,
}

const FORMAT: u32 = 1;
const BASENAME: &str = "hnsw";
const FILES: [&str; 3] = ["rows.bin", "hnsw.hnsw.graph", "hnsw.hnsw.data"];

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
        let mut graph = Self { hnsw, options, len };
        graph.hnsw.set_searching_mode(true);
        Some(graph)
    }

    /// How many rows it knows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// About `n` rows near the query, in no particular order.
    pub(crate) fn nearest(&self, query: &Quantised, n: usize) -> impl Iterator<Item = u32> {
        let n = n.min(self.len);
        let ef = self.options.ef_search.max(n);
        let found = if self.len == 0 { Vec::new() } else { self.hnsw.search(&join(&query.values, query.scale), n, ef) };
        found.into_iter().map(|neighbour| neighbour.get_origin_id() as u32)
    }

    /// Writes the graph to the folder `at`, whole or not at all; what was there goes. `keys` are the rows' keys.
    pub(crate) fn save(&self, at: &Path, model: &str, keys: &[u64], dimension: usize) -> Result<(), Error> {
        let temporary = at.with_extension("tmp");
        remove_dir(&temporary)?;
        let io = |source| Error::Io { path: temporary.clone(), source };
        std::fs::create_dir_all(&temporary).map_err(io)?;
        let rows: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
        std::fs::write(temporary.join(FILES[0]), rows).map_err(io)?;
        let written = self.hnsw.file_dump(&temporary, BASENAME).map_err(|source| Error::Graph(source.to_string()))?;
        if written != BASENAME {
            // After a reload hnsw_rs chooses a name of its own.
            for file in &FILES[1..] {
                let own = file.replacen(BASENAME, &written, 1);
                std::fs::rename(temporary.join(own), temporary.join(file)).map_err(io)?;
            }
        }
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
        // hnsw_rs borrows the reader for the graph's life. It is some hundred bytes, once per start.
        let reader: &'static HnswIo = Box::leak(Box::new(HnswIo::new(at, BASENAME)));
        let mut hnsw = reader.load_hnsw_with_dist(CoarseCosine).map_err(|source| Error::Graph(source.to_string()))?;
        hnsw.set_searching_mode(true);
        if hnsw.get_nb_point() != keys.len() {
            return doubt("the graph has another number of rows");
        }
        Ok(Some(Loaded { graph: Self { hnsw, options, len: keys.len() }, keys }))
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
