//! Placeholder until the GPU twin lands.
use burn::backend::Cube;
use burn::backend::tensor::{FloatTensor, IntTensor};
use crate::{AttentionSpec, Kernels, Layout, LinearSpec, Norm, RopeSpec};
impl Kernels for Cube {
    fn embed(_: IntTensor<Self>, _: IntTensor<Self>, _: Layout, _: f32) -> FloatTensor<Self> { unimplemented!() }
    fn linear(_: FloatTensor<Self>, _: &FloatTensor<Self>, _: IntTensor<Self>, _: &FloatTensor<Self>, _: &FloatTensor<Self>, _: LinearSpec) -> FloatTensor<Self> { unimplemented!() }
    fn rope(_: FloatTensor<Self>, _: FloatTensor<Self>, _: IntTensor<Self>, _: &FloatTensor<Self>, _: &FloatTensor<Self>, _: RopeSpec) -> (FloatTensor<Self>, FloatTensor<Self>) { unimplemented!() }
    fn attention(_: &FloatTensor<Self>, _: &FloatTensor<Self>, _: IntTensor<Self>, _: IntTensor<Self>, _: AttentionSpec) -> FloatTensor<Self> { unimplemented!() }
    fn add_norm(_: FloatTensor<Self>, _: &FloatTensor<Self>, _: &FloatTensor<Self>, _: Norm) -> FloatTensor<Self> { unimplemented!() }
}
