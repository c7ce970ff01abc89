"""The constants of FER2013."""

IMAGE_SIZE = 48  # pixels a side, gray values 0-255
CLASS_NAMES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")  # index: the label in `emotion`
NUM_CLASSES = len(CLASS_NAMES)

# Of train.csv's pixels (129.47 ± 65.04 of 255), scaled to 0-1. Synthetic faces are normalized with them too: a network
# must not depend on its sample.
PIXEL_MEAN, PIXEL_STD = 0.5077, 0.2551
