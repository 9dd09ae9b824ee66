//! `cargo run -p gearbox-tests --bin fuzz -- TARGET --seconds 3600`: random input of one kind for a time.

fn main() -> std::process::ExitCode {
    gearbox_tests::fuzz::main()
}
