#include "context_tree.hpp"

#include <algorithm>
#include <cmath>

#include "mix.hpp"

namespace kbit {

namespace {
constexpr int begin_symbol = 256;
constexpr int64_t first_slots = 1 << 12;
// Far beyond what can still change a probability, and within a float.
constexpr float most_beta = 1e30F, least_beta = 1e-30F;
}  // namespace

ContextTree::ContextTree(int depth, int64_t max_nodes)
    : depth_(depth), max_nodes_(max_nodes), table_(first_slots) {
    begin();
}

void ContextTree::begin() {
    std::fill(std::begin(history_), std::end(history_), begin_symbol);
    hash_contexts();
}

void ContextTree::clear() {
    table_.assign(first_slots, Node{});
    table_.shrink_to_fit();
    used_ = 0;
    changes_.clear();
    copy_.clear();
    logging_ = false;
    begin();
}

void ContextTree::hash_contexts() {
    uint64_t hash = 0x51A9D3F1;
    context_hash_[0] = mix(hash);
    for (int d = 0; d < depth_; ++d) {
        hash = mix(hash + static_cast<uint64_t>(history_[d]) + 1);
        context_hash_[d + 1] = mix(hash ^ static_cast<uint64_t>(d + 1));
    }
}

// The slot of a node; -1 where it is not there and is not to be made.
int64_t ContextTree::find(uint64_t key, bool make) {
    const uint64_t wrap = table_.size() - 1;
    uint64_t slot = key & wrap;
    while (!table_[slot].empty()) {
        if (table_[slot].key() == key) return static_cast<int64_t>(slot);
        slot = (slot + 1) & wrap;
    }
    if (!make) return -1;
    if (logging_) changes_.push_back({static_cast<int64_t>(slot), table_[slot]});
    table_[slot] = Node{};
    table_[slot].high = static_cast<uint32_t>(key >> 32);
    table_[slot].low = static_cast<uint32_t>(key);
    ++used_;
    return static_cast<int64_t>(slot);
}

// Slots for so many nodes, at most three in four of them full.
void ContextTree::make_slots(int64_t nodes) {
    size_t slots = table_.size();
    while (4 * nodes > 3 * static_cast<int64_t>(slots)) slots *= 2;
    if (slots == table_.size()) return;
    std::vector<Node> old(slots);
    old.swap(table_);
    const uint64_t wrap = slots - 1;
    for (const Node &node : old) {
        if (node.empty()) continue;
        uint64_t slot = node.key() & wrap;
        while (!table_[slot].empty()) slot = (slot + 1) & wrap;
        table_[slot] = node;
    }
}

double ContextTree::code_bit(uint32_t prefix, int bit, bool make) {
    int64_t path[most_depth + 1];
    double estimate[most_depth + 1];
    int last = -1;
    for (int d = 0; d <= depth_; ++d) {
        path[d] = find(mix(context_hash_[d] + prefix), make);
        if (path[d] < 0) break;
        last = d;
        const Node &node = table_[path[d]];
        const double own = bit ? node.ones : node.zeros;
        estimate[d] = (own + 0.5) / (static_cast<double>(node.zeros) + node.ones + 1.0);
    }
    if (last < 0) return 0.5;  // the table was full before this decision was ever met
    double weighted = estimate[last];
    for (int d = last; d >= 0; --d) {
        Node &node = table_[path[d]];
        if (logging_) changes_.push_back({path[d], node});
        if (d < last) {
            const double beta = node.beta, below = weighted;
            weighted = (beta * estimate[d] + below) / (beta + 1);
            node.beta = std::clamp(static_cast<float>(beta * estimate[d] / below), least_beta, most_beta);
        }
        (bit ? node.ones : node.zeros) += 1;
    }
    return weighted;
}

void ContextTree::code(const uint8_t *bytes, int64_t count, double *bits) {
    for (int64_t i = 0; i < count; ++i) {
        const bool make = has_room();
        if (make) make_slots(used_ + 8 * (depth_ + 1));
        uint32_t prefix = 1;
        double cost = 0;
        for (int b = 7; b >= 0; --b) {
            const int bit = (bytes[i] >> b) & 1;
            cost -= std::log2(code_bit(prefix, bit, make));
            prefix = 2 * prefix + static_cast<uint32_t>(bit);
        }
        bits[i] = cost;
        if (depth_ == 0) continue;
        for (int d = depth_ - 1; d > 0; --d) history_[d] = history_[d - 1];
        history_[0] = bytes[i];
        hash_contexts();
    }
}

void ContextTree::predict(double *probability) {
    // zero[prefix]: probability that the decision after the bits of `prefix` is zero.
    double zero[256];
    const bool room = has_room();
    for (uint32_t prefix = 1; prefix < 256; ++prefix) {
        const Node *path[most_depth + 1];
        int last = -1;
        for (int d = 0; d <= depth_; ++d) {
            const int64_t slot = find(mix(context_hash_[d] + prefix), false);
            if (slot < 0) break;
            path[d] = &table_[slot];
            last = d;
        }
        // Below the last node known lie new ones, at one half each, where there is room to make them.
        double weighted = 0.5;
        bool leaf = last == depth_ || !room;
        for (int d = last; d >= 0; --d) {
            const Node &node = *path[d];
            const double estimate = (node.zeros + 0.5) / (static_cast<double>(node.zeros) + node.ones + 1.0);
            weighted = leaf ? estimate : (node.beta * estimate + weighted) / (node.beta + 1.0);
            leaf = false;
        }
        zero[prefix] = weighted;
    }
    for (uint32_t byte = 0; byte < 256; ++byte) {
        double product = 1;
        uint32_t prefix = 1;
        for (int b = 7; b >= 0; --b) {
            const uint32_t bit = (byte >> b) & 1U;
            product *= bit ? 1 - zero[prefix] : zero[prefix];
            prefix = 2 * prefix + bit;
        }
        probability[byte] = product;
    }
}

void ContextTree::mark(int64_t bytes) {
    // Slots are remembered by number, so the table must not grow before they are put back.
    const int64_t nodes = 8 * (depth_ + 1) * bytes;
    make_slots(std::min(max_nodes_, used_ + nodes) + 8 * (depth_ + 1));
    used_at_mark_ = used_;
    changes_.clear();
    // A new node is noted twice, when it is made and when it is first counted.
    logging_ = 2 * nodes * static_cast<int64_t>(sizeof(Change)) <
               static_cast<int64_t>(table_.size() * sizeof(Node));
    if (!logging_) copy_ = table_;
}

void ContextTree::rollback() {
    if (!logging_) table_.swap(copy_);
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) table_[change->slot] = change->before;
    changes_.clear();
    used_ = used_at_mark_;
    logging_ = false;
}

}  // namespace kbit
