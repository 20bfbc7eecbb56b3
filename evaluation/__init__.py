"""After the stages: two policies' scored answers in, verdicts, win rates and the gate's decision out."""
