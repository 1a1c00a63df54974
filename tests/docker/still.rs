//! What runs in the containers of tests/docker.rs, alone in its image: waits until it is ended.

fn main() {
    loop {
        std::thread::park();
    }
}
