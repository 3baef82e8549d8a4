mod boot;
mod image;
mod launch;
