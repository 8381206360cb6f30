//! The place where it is proven: hosts in namespaces, an emulated firewall between them, scenarios.

pub mod wire;
