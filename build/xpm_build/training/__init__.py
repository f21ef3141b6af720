"""Training experts by what their manifest says: TRL and PEFT, resumable, with the best checkpoint
chosen by the task itself."""
