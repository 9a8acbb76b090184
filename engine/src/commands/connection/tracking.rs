//! CLIENT TRACKINGINFO, GETREDIR and CACHING, as they answer where no client's reads are tracked: client-side caching
//! does not exist yet, and CLIENT TRACKING is no subcommand.

use super::client::sub;
use crate::call::Call;
use crate::command::{Command, exactly};
use crate::error::{ErrorReply, Result};

pub(super) const TRACKING_INFO: Command = sub("client|trackinginfo", exactly(1), tracking_info).doc(
    "6.2.0",
    "",
    "Returns information about server-assisted client-side caching for the connection.",
    "O(1)",
);

pub(super) const GET_REDIRECTION: Command = sub("client|getredir", exactly(1), get_redirection).doc(
    "6.0.0",
    "",
    "Returns the client ID to which the connection's tracking notifications are redirected.",
    "O(1)",
);

pub(super) const CACHING: Command = sub("client|caching", exactly(2), caching).doc(
    "6.0.0",
    "<YES | NO>",
    "Instructs the server whether to track the keys in the next request.",
    "O(1)",
);

/// What Redis gives for "no redirection because there is no tracking".
const NO_TRACKING: i64 = -1;

fn tracking_info(call: &mut Call<'_>) -> Result {
    call.reply.map(3);
    call.reply.bulk(b"flags");
    call.reply.set(1);
    call.reply.bulk(b"off");
    call.reply.bulk(b"redirect");
    call.reply.integer(NO_TRACKING);
    call.reply.bulk(b"prefixes");
    call.reply.array(0);
    Ok(())
}

fn get_redirection(call: &mut Call<'_>) -> Result {
    call.reply.integer(NO_TRACKING);
    Ok(())
}

fn caching(_: &mut Call<'_>) -> Result {
    Err(ErrorReply::new(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
    ))
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn nobody_tracks() {
        check(
            r#"
            > CLIENT TRACKINGINFO
            1) "flags"
            2) 1) "off"
            3) "redirect"
            4) (integer) -1
            5) "prefixes"
            6) (empty array)
            > CLIENT GETREDIR
            (integer) -1
            > CLIENT CACHING yes
            (error) ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled
            > CLIENT TRACKING on
            (error) ERR unknown subcommand 'TRACKING'. Try CLIENT HELP.
            "#,
        );
    }
}
