//! The real world: tokio, sockets, disks.
