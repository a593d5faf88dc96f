"""Every engine that speaks to a server, against a server of ours that speaks its real wire protocol."""
