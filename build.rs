//! Compiles `proto/` into Rust with a compiler in Rust: nobody needs protoc.

use std::{error::Error, path::Path};

const PROTOS: [&str; 8] = [
    "proto/config.proto",
    "proto/phosphor.proto",
    "proto/platform.proto",
    "proto/services.proto",
    "proto/session.proto",
    "proto/storage.proto",
    "proto/taxi.proto",
    "proto/watch.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for proto in PROTOS {
        println!("cargo:rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(PROTOS, [Path::new("proto")])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
