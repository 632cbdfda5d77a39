//! The simulator's command line.

fn main() {
    eprintln!("vnuma-sim: the simulator is not part of this version yet");
    std::process::exit(2);
}
