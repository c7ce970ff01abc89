"""The constants of FER2013."""

IMAGE_SIZE = 48  # pixels a side, grey values 0-255
CLASS_NAMES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")  # index: the label in `emotion`
NUM_CLASSES = len(CLASS_NAMES)
PIXEL_MEAN, PIXEL_STD = 0.5077, 0.2551  # of the training images, pixels scaled to 0-1
