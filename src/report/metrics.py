"""What each figure of a report means; docs/metrics.md has the same words."""

METRICS = {
    "accuracy": "The share of faces whose most probable class is the label.",
    "95 % interval": (
        "The Wilson interval of an accuracy: for 95 of 100 samples of this size it holds the accuracy over all such "
        "faces. It does not cover another seed of the training."
    ),
    "precision": "Of the faces that are predicted as a class, the share that has this label.",
    "recall": "Of the faces that have a label, the share that is predicted as this class.",
    "F1": "The harmonic mean of precision and recall of a class.",
    "macro-F1": "The mean of the F1 of all classes. A rare class counts as much as a frequent one.",
    "support": "The number of faces that have a label.",
    "loss": (
        "The mean cross-entropy: how improbable the network finds the labels. Training loss is of augmented images and "
        "with the regularization of the training, such as dropout and label smoothing."
    ),
    "learning rate": "The size of an optimizer's steps, at the end of an epoch.",
    "images a second": "Training images divided by the seconds of the training, without evaluation.",
    "confusion matrix": "Rows are labels, columns are predicted classes. The diagonal holds the right predictions.",
    "confidence": "The probability of the predicted class.",
    "expected calibration error": (
        "ECE. The rows are put into 15 bins of equal width by confidence; the error is the mean distance between "
        "confidence and accuracy of a bin, weighted by its rows. 0 is perfect (Guo et al. 2017)."
    ),
    "gain": (
        "What a member adds: the blend's accuracy minus that of the blend without this member, in percentage points."
    ),
    "disagreement": (
        "Of the validation rows that two members predicted, the share for which they predict different classes."
    ),
    "likely label error": (
        "A row whose most probable class among those that reach their threshold is not its label. The threshold of a "
        "class is the mean probability that the class gets on rows with its label (confident learning, Northcutt et "
        "al. 2021). The probabilities are out-of-fold: of networks that did not train on the row."
    ),
}
