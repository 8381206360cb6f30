//! The configuration that a probe writes: where to, for which host, and whether that can be done.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::Usage;
use crate::cli::probe::say;
use crate::config::{Interface, Ports};
use crate::diagnose::probe::Report;
use crate::diagnose::probe::remedy::{self, Deployment, Place};
use crate::sys::route;

/// What a file is to be written for.
#[derive(clap::Args)]
pub(super) struct Flags {
    /// Write a configuration that undoes what is found.
    #[arg(long, value_name = "FILE")]
    write_config: Option<PathBuf>,
    /// For which host that is: client-sidecar for this one, server-sidecar for the other, gateway for a router between.
    #[arg(long, value_name = "MODE", default_value = "client-sidecar")]
    mode: Place,
    /// The interface there that faces the firewall [default: the one of this host that leads to HOST]
    #[arg(long, value_name = "IFACE")]
    mangled_side: Option<Interface>,
    /// For connections to these ports.
    #[arg(long, value_name = "LIST", default_value = "22,873")]
    intercept: Ports,
}

// === impl Flags ===

impl Flags {
    /// The file, if one is to be written.
    pub(super) fn path(&self) -> Option<&Path> {
        self.write_config.as_deref()
    }

    /// The interface that faces the firewall: the one that was named, or that of this host that leads to an address.
    pub(super) fn mangled_side(&self, towards: SocketAddr) -> Option<Interface> {
        let found = || {
            let interface = route::Interface::towards(towards).ok()?;
            interface.name().ok()?.parse().ok()
        };
        self.mangled_side.clone().or_else(found)
    }

    /// Sees that the file can be written, before anything is probed for it; leaves what is there as it is.
    pub(super) fn check(&self) -> Result<(), Usage> {
        let Some(file) = self.path() else {
            return Ok(());
        };
        match (self.mode, &self.mangled_side) {
            // Another host's interfaces are not known here.
            (place @ (Place::ServerSidecar | Place::Gateway), None) => {
                return Err(Usage(format!(
                    "--mode {}: name the interface there that faces the firewall by --mangled-side",
                    place.name()
                )));
            }
            (Place::ClientSidecar, Some(interface)) => {
                route::index_of(interface.as_str()).map_err(|error| {
                    Usage(format!(
                        "--mangled-side {interface}: this host has no such interface: {error}"
                    ))
                })?;
            }
            _ => {}
        }
        writable(file).map_err(|error| {
            Usage(format!(
                "--write-config: {} cannot be written: {error}",
                file.display()
            ))
        })
    }

    /// Writes the file, if one is wanted and there is something to say in it.
    pub(super) fn write(
        &self,
        report: &Report,
        mangled_side: Option<Interface>,
    ) -> anyhow::Result<()> {
        let Some(file) = self.path() else {
            return Ok(());
        };
        let mangled_side = mangled_side.ok_or_else(|| {
            Usage(
                "--write-config: name the interface that faces the firewall by --mangled-side"
                    .to_owned(),
            )
        })?;
        let deployment = Deployment {
            place: self.mode,
            mangled_side,
            ports: self.intercept.clone(),
        };
        match remedy::config(report, &deployment) {
            Ok(text) => std::fs::write(file, text)
                .with_context(|| format!("--write-config: {} cannot be written", file.display())),
            Err(nothing) => {
                let old = match file.exists() {
                    true => " (what stands there is from before)",
                    false => "",
                };
                say(format_args!(
                    "{} was not written{old}: {nothing}",
                    file.display()
                ));
                Ok(())
            }
        }
    }
}

fn writable(file: &Path) -> std::io::Result<()> {
    match std::fs::metadata(file) {
        Ok(meta) if meta.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(meta) if meta.is_file() => OpenOptions::new().write(true).open(file).map(drop),
        // A pipe or a terminal.
        Ok(_) => Ok(()),
        Err(_) => {
            let created = OpenOptions::new().write(true).create_new(true).open(file);
            created.and_then(|_| std::fs::remove_file(file))
        }
    }
}
