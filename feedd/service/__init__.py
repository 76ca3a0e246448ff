"""feedd as a service of systemd: `unit` makes the text, `places` names the files, `install` brings and takes it."""
