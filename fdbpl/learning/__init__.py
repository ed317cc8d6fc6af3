"""From pictures to a model in one go: what `fdbpl learn` and `PromptClassifier` do."""
