"""What can be known before a launch, one question a check. A check answers with faults, or says why it could not be asked; it never passes in silence."""
