"""What runs inside a rival's environment, one small program each; of the harness they know `questions`, `tally`."""
