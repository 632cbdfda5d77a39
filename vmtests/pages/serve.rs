//! Serves what the machine's plugin counts as the hosts of a distributed machine would, for `scx_vnuma --dsm`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Where it listens unless told otherwise. All nodes are on one page.
pub const ADDRESS: &str = "127.0.0.1:9401";
/// What the plugin writes every second in machines with --page-cost.
pub const FILE: &str = "/lab/dsm/dsm.prom";

/// Serve until the program ends.
///
/// # Errors
///
/// The address can't be listened on.
pub fn run(listen: SocketAddr, file: &Path) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("--listen {listen}"))?;
    for stream in listener.incoming() {
        // A client that hangs up, or a file that isn't there yet, is no reason to end.
        if let Err(err) = stream.map_err(anyhow::Error::from).and_then(|stream| answer(stream, file)) {
            eprintln!("{err:#}");
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream, file: &Path) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(2);
    const HEAD_BYTES_MAX: usize = 4096;

    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            len => head.extend(&buffer[..len]),
        }
    }
    let (status, body) = match std::fs::read(file) {
        Ok(body) => ("200 OK", body),
        Err(err) => ("503 Service Unavailable", format!("{}: {err}\n", file.display()).into_bytes()),
    };
    let kind = "Content-Type: text/plain; version=0.0.4";
    write!(stream, "HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    Ok(stream.write_all(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_served_as_it_is_and_a_missing_one_is_an_error_of_the_server() {
        let folder = std::env::temp_dir().join(format!("vnuma-serve-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("dsm.prom");
        let get = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            answer(listener.accept().unwrap().0, &file).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        };
        assert!(get().starts_with("HTTP/1.1 503 "));
        std::fs::write(&file, "dsm_faults_total 1\n").unwrap();
        let answer = get();
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\ndsm_faults_total 1\n"),
            "{answer}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
