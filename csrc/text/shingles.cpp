#include "shingles.hpp"

#include <algorithm>
#include <limits>

#include "mix.hpp"

namespace kbit {

namespace {

// The next code point of valid UTF-8.
inline uint32_t next(const uint8_t *&at) {
    const uint32_t a = *at++;
    if (a < 0x80) return a;
    if (a < 0xE0) return ((a & 0x1F) << 6) | (*at++ & 0x3FU);
    if (a < 0xF0) {
        const uint32_t b = *at++ & 0x3FU, c = *at++ & 0x3FU;
        return ((a & 0x0F) << 12) | (b << 6) | c;
    }
    const uint32_t b = *at++ & 0x3FU, c = *at++ & 0x3FU, d = *at++ & 0x3FU;
    return ((a & 0x07) << 18) | (b << 12) | (c << 6) | d;
}

}  // namespace

std::vector<uint64_t> shingles(const uint8_t *text, int64_t bytes, const uint8_t *classes, int words) {
    std::vector<uint64_t> codes;
    codes.reserve(static_cast<size_t>(bytes / 5 + 1));
    const uint8_t *at = text, *end = text + bytes;
    uint64_t running = 0;
    bool inside = false;
    while (at < end) {
        const uint32_t character = next(at);
        const uint8_t kind = classes[character];
        if (kind == word) {
            running = mix(running ^ (character + (inside ? 0 : 0x9E3779B9ULL)));
            inside = true;
            continue;
        }
        if (inside) codes.push_back(running);
        inside = false;
        running = 0;
        if (kind != space) codes.push_back(mix(character + 0x100000000ULL));
    }
    if (inside) codes.push_back(running);

    const auto found = static_cast<int64_t>(codes.size());
    const int64_t count = std::max<int64_t>(found - words + 1, 1);
    const int64_t length = std::min<int64_t>(words, found);
    // In place: shingle i is finished before code i is needed no more.
    if (codes.empty()) codes.push_back(0);
    for (int64_t i = 0; i < count; ++i) {
        uint64_t hash = 0;
        for (int64_t j = 0; j < length; ++j) hash = mix(hash + codes[i + j]);
        codes[i] = hash;
    }
    codes.resize(static_cast<size_t>(count));
    std::sort(codes.begin(), codes.end());
    codes.erase(std::unique(codes.begin(), codes.end()), codes.end());
    return codes;
}

void signature(const uint64_t *shingles, int64_t count, const uint64_t *multipliers, const uint64_t *addends,
               uint64_t *least, int64_t functions) {
    std::fill(least, least + functions, std::numeric_limits<uint64_t>::max());
    // Shingles outside, functions inside: the inner loop runs over whole vectors.
    for (int64_t i = 0; i < count; ++i) {
        const uint64_t x = shingles[i];
        for (int64_t f = 0; f < functions; ++f) {
            const uint64_t value = multipliers[f] * x + addends[f];
            least[f] = value < least[f] ? value : least[f];
        }
    }
}

}  // namespace kbit
