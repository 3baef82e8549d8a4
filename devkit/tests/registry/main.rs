//! The registry, asked over a real socket by a client that knows nothing of its inside.

#[cfg(test)]
mod client;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod pulls;
#[cfg(test)]
mod pushes;
#[cfg(test)]
mod service;
