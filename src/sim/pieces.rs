//! The finished pieces of an experiment, kept in files so that it can be resumed.
//!
//! A piece is what one combination of options gave under every policy with one seed. Its file says by a digest what it depends on:
//! the version, the trace's files and all parameters. A piece of anything else is run again.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::SimError;
use super::output;
use super::params::Params;
use super::repeat::Measured;
use super::trace::Input;

/// Changed when a reader of older pieces would misread newer ones.
const FORMAT: &str = "vnuma-sim piece 1";

/// A finished piece.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// SHA-256 of all that it depends on, in hexadecimal.
    key: String,
    /// The files of the trace, as they were read.
    pub inputs: Vec<Input>,
    /// Where the data come from and which of them are synthetic, if the trace has this information.
    pub provenance: Option<String>,
    /// What was measured, in the order of the policies.
    pub measured: Vec<Measured>,
}

/// A piece in its file.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    #[serde(flatten)]
    piece: Piece,
    /// CRC-32 of the piece as compact JSON.
    crc32: u32,
}

/// Where a piece is kept.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    key: String,
    policies: usize,
}

impl Place {
    /// The place of a piece in a folder. `files` are the trace's, `policies` the parameters of its runs, with the piece's seed.
    pub fn new(folder: &Path, files: &[Input], policies: &[Params]) -> Place {
        let key = serde_json::json!([FORMAT, env!("CARGO_PKG_VERSION"), files, policies]).to_string();
        let key: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        // Half of the digest tells the files of a folder apart.
        Place { path: folder.join(format!("{}.json", &key[..32])), key, policies: policies.len() }
    }

    /// The path of its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The piece, if it is finished. The error says why a file that is there can't be used.
    pub fn load(&self) -> Result<Option<Piece>, String> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let Stored { piece, crc32 } = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        if crc32 != sum(&piece) {
            return Err("it is not as it was written".to_owned());
        }
        if piece.key != self.key || piece.measured.len() != self.policies {
            return Err("it is of another experiment".to_owned());
        }
        piece.measured.iter().try_for_each(Measured::check)?;
        Ok(Some(piece))
    }

    /// Keep a piece.
    pub fn store(
        &self,
        inputs: &[Input],
        provenance: Option<&str>,
        measured: Vec<Measured>,
    ) -> Result<Piece, SimError> {
        let (inputs, provenance) = (inputs.to_vec(), provenance.map(str::to_owned));
        let piece = Piece { key: self.key.clone(), inputs, provenance, measured };
        let stored = Stored { crc32: sum(&piece), piece };
        output::write(&self.path, &serde_json::to_vec(&stored).expect("BUG: a piece is plain data"))?;
        Ok(stored.piece)
    }
}

fn sum(piece: &Piece) -> u32 {
    crc32fast::hash(&serde_json::to_vec(piece).expect("BUG: a piece is plain data"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{repeat, sample};

    #[test]
    fn a_piece_is_found_by_what_it_depends_on_and_refused_when_it_was_changed() {
        let folder = std::env::temp_dir().join(format!("vnuma-pieces-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let trace = sample::load(&|_| true).unwrap();
        let params = [Params { machines: sample::MACHINES, ..Params::default() }];
        let measured = repeat::run(&trace, &params, 1, &|| {}).unwrap().measured;
        let place = Place::new(&folder, &trace.inputs, &params);
        assert_eq!(place.load(), Ok(None));
        let piece = place.store(&trace.inputs, None, measured).unwrap();
        assert_eq!(place.load(), Ok(Some(piece)));

        let other_params = [Params { overcommit: 0.5, ..params[0].clone() }];
        let mut other_inputs = trace.inputs.clone();
        other_inputs[0].sha256 = "0".repeat(64);
        for other in [Place::new(&folder, &trace.inputs, &other_params), Place::new(&folder, &other_inputs, &params)] {
            assert_ne!(other.path(), place.path());
            assert_eq!(other.load(), Ok(None));
            std::fs::copy(place.path(), other.path()).unwrap();
            assert_eq!(other.load(), Err("it is of another experiment".to_owned()));
        }
        let text = std::fs::read_to_string(place.path()).unwrap();
        std::fs::write(place.path(), text.replace("\"finished\":", "\"finished\":1")).unwrap();
        assert_eq!(place.load(), Err("it is not as it was written".to_owned()));
        std::fs::write(place.path(), &text[..text.len() / 2]).unwrap();
        assert!(place.load().is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
