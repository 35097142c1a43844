//! Values with one spelling, used by everything above.

pub mod arch;
pub mod digest;
pub mod disk;
pub mod mac;
pub mod net;
pub mod secret;
pub mod time;

pub use arch::{Arch, ClientArch, Firmware};
pub use digest::Sha256;
pub use disk::{DataDisk, DiskRule, Pick};
pub use mac::Mac;
pub use net::{Cidr, IpRange};
pub use secret::Secret;
pub use time::Timestamp;
