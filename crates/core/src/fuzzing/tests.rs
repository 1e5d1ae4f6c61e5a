//! The fuzz targets over their seeds.

use rekindle_testing::seeds;

#[test]
fn stun() {
    seeds::run("stun", super::stun);
}

#[test]
fn datagrams_new() {
    seeds::run("datagrams_new", super::datagrams_new);
}

#[test]
fn datagrams_connected() {
    seeds::run("datagrams_connected", super::datagrams_connected);
}

#[test]
fn rtp() {
    seeds::run("rtp", super::rtp);
}

#[test]
fn rtcp() {
    seeds::run("rtcp", super::rtcp);
}
