//! Shows event bodies to readers of the journal.

use wiab_engine::codec;
use wiab_engine::event::Event;
use wiab_journal::Render;

/// Renders the engine's events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventRender;

impl Render for EventRender {
    fn name(&self, kind: u16) -> Option<&'static str> {
        Event::name_of(kind)
    }

    fn body(&self, kind: u16, body: &[u8]) -> Result<serde_json::Value, String> {
        codec::decode(kind, body)
            .map(|event| codec::to_json(&event))
            .map_err(|error| error.to_string())
    }
}
