//! HTTP: WHIP, WHEP, events, page, health; start and shutdown.
