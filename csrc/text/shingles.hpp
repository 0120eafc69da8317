// Shingles of a text (runs of words, hashed) and their MinHash signature.
#pragma once

#include <cstdint>
#include <vector>

namespace kbit {

// What a character is to the splitting into words.
enum CharacterClass : uint8_t { space = 0, word = 1, mark = 2, ideograph = 3 };

// Sorted 64-bit hashes of the distinct shingles of `words` words of a UTF-8 text. A word is a run of word
// characters, or one mark, or one ideograph (scripts written without spaces have no longer words to find).
// A text of fewer words is one shingle. `classes` has one CharacterClass for each of 0x110000 code points.
std::vector<uint64_t> shingles(const uint8_t *text, int64_t bytes, const uint8_t *classes, int words);

// least[i] = the least of multipliers[i] * shingle + addends[i] (mod 2^64) over all shingles.
void signature(const uint64_t *shingles, int64_t count, const uint64_t *multipliers, const uint64_t *addends,
               uint64_t *least, int64_t functions);

}  // namespace kbit
