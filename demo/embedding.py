"""Text to vectors by latent semantic analysis (Deerwester et al., 1990).

TF-IDF weights of a text's words, then a truncated singular value
decomposition to 256 dimensions: texts about the same matter come out near
each other even where they use different words.  Old, but needs no downloaded
model, fits in seconds, and gives the same vectors on every run.
"""

import re

import joblib
import numpy
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

DIMENSIONS = 256

# Endings, longest first, and what is left of them: enough of a stemmer for
# "editors" and "editing" to meet.
ENDINGS = (
    ("ies", "y"),
    ("ing", ""),
    ("ers", "er"),
    ("ed", ""),
    ("es", "e"),
    ("s", ""),
)
WORD = re.compile(r"[a-z][a-z0-9+#]+")


def words(text):
    """Split a text into the words that count, without their endings."""
    return [stem(w) for w in WORD.findall(text.lower()) if w not in ENGLISH_STOP_WORDS]


def stem(word):
    """Remove one ending from a word of which enough remains."""
    for ending, rest in ENDINGS:
        kept = len(word) - len(ending)
        if kept >= 4 and word.endswith(ending) and not word.endswith("ss"):
            return word[:kept] + rest
    return word


class Embedding:
    """A fitted model; saved with the demo, so that a phrase can be searched."""

    def __init__(self, texts):
        self.tfidf = TfidfVectorizer(
            analyzer=words,
            sublinear_tf=True,
            min_df=3,
            max_df=0.1,
            dtype=numpy.float32,
        )
        self.svd = TruncatedSVD(DIMENSIONS, n_iter=4, random_state=0)
        self.svd.fit(self.tfidf.fit_transform(texts))
        # The first components are about the most common words.  Giving all
        # components the same variance lets the more telling ones speak: of
        # the first five answers to 25 phrases 39 % instead of 35 % were apt.
        self.weights = 1 / self.svd.singular_values_

    def vectors(self, texts):
        """Return one row of float32 per text, of length one (or zero)."""
        rows = self.svd.transform(self.tfidf.transform(texts)) * self.weights
        norms = numpy.linalg.norm(rows, axis=1, keepdims=True)
        rows = numpy.where(norms > 1e-6, rows / numpy.maximum(norms, 1e-6), 0)
        # Five decimals are what is sent; so the reference sees them, too.
        return numpy.round(rows, 5).astype(numpy.float32)

    def save(self, path):
        """Keep the model for load()."""
        joblib.dump(self, path)

    @staticmethod
    def load(path):
        """Read a model that save() wrote."""
        return joblib.load(path)


def as_text(vector):
    """Write a vector as PostgreSQL reads it."""
    return "[" + ",".join(["%.5g" % x for x in vector.tolist()]) + "]"
