//! Every socket Strongroom opens or accepts
