"""What several rooms need and none of them owns: quoting, processes, signals, text for a message."""
