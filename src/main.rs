//! The executable: hands its arguments to `cli`, or becomes the fast lane's init when the kernel started it as pid 1.

use std::process::ExitCode;

fn main() -> ExitCode {
    if bootstead::system::is_init() {
        bootstead::system::main()
    }
    bootstead::cli::main()
}
