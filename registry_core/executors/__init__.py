"""Where runs run: processes of this machine, or a Ray cluster; and who keeps what they send."""
