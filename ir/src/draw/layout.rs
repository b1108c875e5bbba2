//! Layered layout of a directed acyclic graph (Sugiyama, Tagawa and Toda, 1981).
//!
//! Boxes get a layer below everything they depend on; edges that span several layers get a bend in each; the order
//! within layers is improved by barycenters; and horizontal positions are the least-squares fit to the neighbors'
//! positions that keeps boxes apart, found by pooling adjacent violators.

/// Extent of a box, and then its place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rect {
    /// Center.
    pub(super) x: f64,
    /// Top.
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Where everything is.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) boxes: Vec<Rect>,
    /// For each edge the points it runs through, from the bottom of a box to the top of another.
    pub(super) edges: Vec<Vec<(f64, f64)>>,
    pub(super) width: f64,
    pub(super) height: f64,
}

const GAP_X: f64 = 18.0;
const GAP_Y: f64 = 34.0;
const MARGIN: f64 = 12.0;
const N_ORDER_SWEEPS: usize = 12;
const N_POSITION_SWEEPS: usize = 12;

/// Boxes of the given sizes and edges between them; edges lead to higher indices.
pub(super) fn layered(sizes: &[(f64, f64)], edges: &[(usize, usize)]) -> Layout {
    let layer_of = assign_layers(sizes.len(), edges);
    let mut items = Items::new(sizes, edges, &layer_of);
    items.order();
    items.place();
    items.finish(sizes.len(), edges.len())
}

/// The longest path to each box; boxes without predecessors move down to their first user.
fn assign_layers(n_boxes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut sorted = edges.to_vec();
    sorted.sort_by_key(|&(_, to)| to);
    let mut layer_of = vec![0; n_boxes];
    let mut has_input = vec![false; n_boxes];
    for &(from, to) in &sorted {
        layer_of[to] = layer_of[to].max(layer_of[from] + 1);
        has_input[to] = true;
    }
    let mut first_user: Vec<Option<usize>> = vec![None; n_boxes];
    for &(from, to) in edges {
        first_user[from] = Some(first_user[from].map_or(layer_of[to], |first| first.min(layer_of[to])));
    }
    for idx in 0..n_boxes {
        if let (false, Some(first)) = (has_input[idx], first_user[idx]) {
            layer_of[idx] = first - 1;
        }
    }
    layer_of
}

/// Boxes and, behind them, bends.
struct Items {
    rects: Vec<Rect>,
    layers: Vec<Vec<usize>>,
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    /// For each edge the items it runs through.
    paths: Vec<Vec<usize>>,
}

impl Items {
    fn new(sizes: &[(f64, f64)], edges: &[(usize, usize)], layer_of: &[usize]) -> Self {
        let n_layers = layer_of.iter().max().map_or(0, |last| last + 1);
        let mut items = Self {
            rects: Vec::new(),
            layers: vec![Vec::new(); n_layers],
            above: Vec::new(),
            below: Vec::new(),
            paths: Vec::new(),
        };
        for (&(width, height), &layer) in sizes.iter().zip(layer_of) {
            items.add(layer, Rect { width, height, ..Rect::default() });
        }
        for &(from, to) in edges {
            let mut path = vec![from];
            path.extend((layer_of[from] + 1..layer_of[to]).map(|layer| items.add(layer, Rect::default())));
            path.push(to);
            for pair in path.windows(2) {
                items.below[pair[0]].push(pair[1]);
                items.above[pair[1]].push(pair[0]);
            }
            items.paths.push(path);
        }
        items
    }

    fn add(&mut self, layer: usize, rect: Rect) -> usize {
        let item = self.rects.len();
        self.rects.push(rect);
        self.layers[layer].push(item);
        self.above.push(Vec::new());
        self.below.push(Vec::new());
        item
    }

    /// Sorts each layer by the mean position of the neighbors in the layer before, downward and upward in turn.
    fn order(&mut self) {
        let mut position = vec![0.0; self.rects.len()];
        let number = |layer: &[usize], position: &mut [f64]| {
            let center = layer.len() as f64 / 2.0;
            layer.iter().enumerate().for_each(|(at, &item)| position[item] = at as f64 - center);
        };
        self.layers.iter().for_each(|layer| number(layer, &mut position));
        for sweep in 0..N_ORDER_SWEEPS {
            let down = sweep % 2 == 0;
            let neighbors = if down { &self.above } else { &self.below };
            let n_layers = self.layers.len();
            for step in 0..n_layers {
                let layer = &mut self.layers[if down { step } else { n_layers - 1 - step }];
                let mut keyed: Vec<(f64, usize)> = layer
                    .iter()
                    .map(|&item| (mean(&neighbors[item], |other| position[other]).unwrap_or(position[item]), item))
                    .collect();
                keyed.sort_by(|lhs, rhs| lhs.0.total_cmp(&rhs.0));
                *layer = keyed.into_iter().map(|(_, item)| item).collect();
                number(layer, &mut position);
            }
        }
    }

    /// Gives every item a horizontal and a vertical position.
    fn place(&mut self) {
        let mut top = MARGIN;
        for layer in &self.layers {
            let height = layer.iter().map(|&item| self.rects[item].height).fold(0.0, f64::max);
            let mut left = 0.0;
            for &item in layer {
                let rect = &mut self.rects[item];
                // Bends pass at the layer's middle.
                rect.y = top + (height - rect.height) / 2.0;
                rect.x = left + rect.width / 2.0;
                left += rect.width + GAP_X;
            }
            top += height + GAP_Y;
        }
        for sweep in 0..N_POSITION_SWEEPS {
            let n_layers = self.layers.len();
            for step in 0..n_layers {
                // The last sweeps look both ways.
                let (down, both) = (sweep % 2 == 0, sweep + 4 >= N_POSITION_SWEEPS);
                let layer = &self.layers[if down { step } else { n_layers - 1 - step }];
                let wanted: Vec<f64> = layer
                    .iter()
                    .map(|&item| {
                        let (above, below) = (&self.above[item], &self.below[item]);
                        let neighbors = match (both, down) {
                            (true, _) => [above.as_slice(), below].concat(),
                            (false, true) => above.clone(),
                            (false, false) => below.clone(),
                        };
                        mean(&neighbors, |other| self.rects[other].x).unwrap_or(self.rects[item].x)
                    })
                    .collect();
                let widths: Vec<f64> = layer.iter().map(|&item| self.rects[item].width).collect();
                for (&item, x) in layer.iter().zip(keep_apart(&wanted, &widths)) {
                    self.rects[item].x = x;
                }
            }
        }
    }

    fn finish(mut self, n_boxes: usize, n_edges: usize) -> Layout {
        let left = self.rects.iter().map(|rect| rect.x - rect.width / 2.0).fold(f64::INFINITY, f64::min);
        let shift = if left.is_finite() { MARGIN - left } else { 0.0 };
        self.rects.iter_mut().for_each(|rect| rect.x += shift);
        let right = self.rects.iter().map(|rect| rect.x + rect.width / 2.0).fold(0.0, f64::max);
        let bottom = self.rects.iter().map(|rect| rect.y + rect.height).fold(0.0, f64::max);
        let mut edges = Vec::with_capacity(n_edges);
        for path in &self.paths {
            let last = path.len() - 1;
            let point = |(at, &item): (usize, &usize)| {
                let rect = self.rects[item];
                (rect.x, if at == last { rect.y } else { rect.y + rect.height })
            };
            edges.push(path.iter().enumerate().map(point).collect());
        }
        self.rects.truncate(n_boxes);
        Layout { boxes: self.rects, edges, width: right + MARGIN, height: bottom + MARGIN }
    }
}

fn mean(items: &[usize], position: impl Fn(usize) -> f64) -> Option<f64> {
    if items.is_empty() {
        return None;
    }
    Some(items.iter().map(|&item| position(item)).sum::<f64>() / items.len() as f64)
}

/// The positions nearest to `wanted` (least squares) at which items of these widths, in this order, do not touch.
fn keep_apart(wanted: &[f64], widths: &[f64]) -> Vec<f64> {
    // Relative to a tight packing, positions must not decrease: isotonic regression.
    let mut packed = Vec::with_capacity(widths.len());
    let mut left = 0.0;
    for width in widths {
        packed.push(left + width / 2.0);
        left += width + GAP_X;
    }
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (wanted, packed) in wanted.iter().zip(&packed) {
        let mut block = (wanted - packed, 1);
        while let Some(&(mean, count)) = blocks.last() {
            if mean <= block.0 {
                break;
            }
            blocks.pop();
            let total = count + block.1;
            block = ((mean * count as f64 + block.0 * block.1 as f64) / total as f64, total);
        }
        blocks.push(block);
    }
    let offsets = blocks.into_iter().flat_map(|(offset, count)| std::iter::repeat_n(offset, count));
    offsets.zip(packed).map(|(offset, packed)| packed + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_kept_apart_with_least_change() {
        assert_eq!(keep_apart(&[0.0, 100.0], &[10.0, 10.0]), [0.0, 100.0]);
        let placed = keep_apart(&[50.0, 50.0, 50.0], &[10.0, 10.0, 10.0]);
        assert_eq!(placed, [50.0 - 28.0, 50.0, 50.0 + 28.0]);
    }

    #[test]
    fn boxes_do_not_overlap_and_edges_go_down() {
        // A ladder with long edges back to the first boxes.
        let mut edges = Vec::new();
        for idx in 2..40usize {
            edges.extend([(idx - 2, idx), (idx - 1, idx), (idx % 3, idx)].into_iter().filter(|(from, to)| from < to));
        }
        edges.sort_unstable();
        edges.dedup();
        let sizes: Vec<(f64, f64)> =
            (0..40).map(|idx| (40.0 + (idx * 7 % 50) as f64, 20.0 + (idx % 4) as f64)).collect();
        let layout = layered(&sizes, &edges);
        for (idx, lhs) in layout.boxes.iter().enumerate() {
            assert!(lhs.x - lhs.width / 2.0 >= 0.0 && lhs.x + lhs.width / 2.0 <= layout.width);
            for rhs in &layout.boxes[..idx] {
                let apart_x = (lhs.x - rhs.x).abs() + 1e-6 >= (lhs.width + rhs.width) / 2.0;
                let apart_y = lhs.y >= rhs.y + rhs.height || rhs.y >= lhs.y + lhs.height;
                assert!(apart_x || apart_y, "{lhs:?} and {rhs:?} overlap");
            }
        }
        for path in &layout.edges {
            assert!(path.windows(2).all(|pair| pair[0].1 < pair[1].1), "{path:?} does not go down");
        }
    }

    #[test]
    fn sources_stand_above_their_first_user() {
        assert_eq!(assign_layers(4, &[(0, 2), (1, 3), (2, 3)]), [0, 1, 1, 2]);
    }
}
