//! Parts of speech by a recurrent network: words are embedded, an LSTM reads them in order, and a linear layer scores the
//! tags of each.
//!
//! ```text
//! cargo run --release --example lstm_tagger
//! ```
//!
//! Two sentences are the whole corpus, so what is learned is learned by heart. Sentences have different lengths: the
//! training step is compiled once for each length it meets.

use nnc::prelude::*;

/// Features of a word, and of the hidden state; usually more like 32 or 64.
const EMBEDDING_DIM: usize = 6;
const HIDDEN_DIM: usize = 6;

const CORPUS: [(&str, &str); 2] =
    [("The dog ate the apple", "DET NN V DET NN"), ("Everybody read that book", "NN V DET NN")];

/// Numbers the words of `texts` in order of appearance.
fn vocabulary(texts: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut words = Vec::new();
    for word in texts.flat_map(str::split_whitespace) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// The numbers of a text's words.
fn prepare_sequence(text: &str, to_ix: &[&str]) -> ndarray::Array1<i64> {
    let number = |word| to_ix.iter().position(|known| *known == word).map_or(-1, |ix| ix as i64);
    text.split_whitespace().map(number).collect()
}

#[derive(Module)]
struct LSTMTagger {
    word_embeddings: Embedding,
    /// Takes word embeddings, and gives hidden states.
    lstm: LSTM,
    /// Maps from hidden states to tags.
    hidden2tag: Linear,
}

impl LSTMTagger {
    fn new(embedding_dim: usize, hidden_dim: usize, vocab_size: usize, tagset_size: usize) -> Self {
        Self {
            word_embeddings: Embedding::new(vocab_size, embedding_dim),
            lstm: LSTM::new(embedding_dim, hidden_dim),
            hidden2tag: Linear::new(hidden_dim, tagset_size),
        }
    }
}

impl Forward for LSTMTagger {
    fn forward(&self, sentence: &Tensor) -> Tensor {
        let embeds = self.word_embeddings.forward(sentence);
        let (lstm_out, _) = self.lstm.forward(&embeds.view((sentence.size(0), 1, -1)));
        let tag_space = self.hidden2tag.forward(&lstm_out.view((sentence.size(0), -1)));
        functional::log_softmax(&tag_space, 1)
    }
}

fn main() -> Result<(), Error> {
    manual_seed(1);
    let words = vocabulary(CORPUS.iter().map(|(sentence, _)| *sentence));
    let tags = vocabulary(["DET NN V"].into_iter());
    let training_data = CORPUS
        .map(|(sentence, sentence_tags)| (prepare_sequence(sentence, &words), prepare_sequence(sentence_tags, &tags)));

    let model = LSTMTagger::new(EMBEDDING_DIM, HIDDEN_DIM, words.len(), tags.len());
    println!("{model}");
    let mut trainer = Trainer::new(model, Loss::nll(), Sgd::new(0.1)).build()?;

    // Element (i, j) of the output is the score of tag j for word i.
    println!("\nTag scores of \"{}\" before training:", CORPUS[0].0);
    println!("{}", Tensor::from_data(trainer.predict(&training_data[0].0)?));

    // Usually far fewer epochs would do; this is a toy.
    for _epoch in 0..300 {
        for (sentence, targets) in &training_data {
            trainer.step(sentence, targets)?;
        }
    }

    println!("\nAnd after it:");
    println!("{}", Tensor::from_data(trainer.predict(&training_data[0].0)?));
    println!();
    for ((sentence, expected), (text, _)) in training_data.iter().zip(CORPUS) {
        let scores = Tensor::from_data(trainer.predict(sentence)?);
        let predicted = scores.argmax(1).to_array_i64()?;
        let tagged =
            text.split_whitespace().zip(&predicted).map(|(word, &tag)| format!("{word}/{}", tags[tag as usize]));
        println!("{}", tagged.collect::<Vec<_>>().join(" "));
        let right = predicted.iter().zip(expected).filter(|(predicted, expected)| predicted == expected).count();
        println!("  {right} of {} tags are right", expected.len());
    }
    Ok(())
}
