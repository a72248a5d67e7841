//! Which kernel makes a product on which class of adapter: a table in place of autotune, which a
//! browser cannot run and which would cost the first requests of a host. What the self-test finds
//! wrong on a device is taken out for as long as the process lives, and the next in line is used.

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use burn::backend::CubeDevice;
use burn::cubecl;
use cubecl::features::Plane;
use cubecl::prelude::DeviceProperties;

use super::linear_cooperative::Fragment;

/// Ways to make a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A lane a row of weights, input prepared beforehand.
    Single,
    /// 32 lanes a row of weights, added up in workgroup memory.
    Shared,
    /// A plane of this many lanes a row of weights.
    Plane(usize),
    /// Tiles in workgroup memory.
    Tiles,
    /// Tiles that planes multiply as cooperative matrices.
    Cooperative(Fragment),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Single => f.write_str("one lane a row"),
            Way::Shared => f.write_str("32 lanes in workgroup memory"),
            Way::Plane(lanes) => write!(f, "a plane of {lanes}"),
            Way::Tiles => f.write_str("tiles"),
            Way::Cooperative(fragment) => write!(f, "cooperative matrices of {fragment}"),
        }
    }
}

/// What decides between the ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A software GPU: only the loads that differ between lanes cost.
    Software,
    /// Planes of one fixed size add up without memory.
    Planes(usize),
    /// Planes of several sizes, or none that a kernel may use.
    Workgroups,
}

/// Rows of `x` up to which each weight is read once for all.
pub const FEW: usize = 8;

impl Class {
    pub fn of(properties: &DeviceProperties) -> Class {
        let (least, most) = (
            properties.hardware.plane_size_min,
            properties.hardware.plane_size_max,
        );
        if properties.identity.physical.is_none() {
            Class::Software
        } else if properties.features.plane.contains(Plane::Ops) && least == most {
            Class::Planes(least as usize)
        } else {
            Class::Workgroups
        }
    }

    /// The ways for up to [`FEW`] rows and for more, best first. Each is right for any number of
    /// rows, so that one can stand in for another.
    fn ways(self, few: bool) -> Vec<Way> {
        match (self, few) {
            (Class::Software, true) => vec![Way::Single, Way::Shared],
            (Class::Software, false) => vec![Way::Single, Way::Tiles],
            (Class::Planes(size), true) => vec![Way::Plane(size), Way::Shared, Way::Single],
            (Class::Workgroups, true) => vec![Way::Shared, Way::Single],
            (_, false) => vec![Way::Tiles, Way::Shared, Way::Single],
        }
    }
}

/// What the self-test found wrong on a device. It is not used there for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Product(Way),
    /// Of queries and keys in one kernel with attention.
    Turning,
    Recording,
    Drawing,
}

static FAULTS: RwLock<Option<HashMap<CubeDevice, Vec<Fault>>>> = RwLock::new(None);

impl Fault {
    pub fn note(self, device: &CubeDevice) {
        let mut all = FAULTS.write().unwrap_or_else(PoisonError::into_inner);
        let all = all.get_or_insert_default();
        all.entry(device.clone()).or_default().push(self);
    }

    pub fn is_known(self, device: &CubeDevice) -> bool {
        let all = FAULTS.read().unwrap_or_else(PoisonError::into_inner);
        let of = all.as_ref().and_then(|all| all.get(device));
        of.is_some_and(|faults| faults.contains(&self))
    }
}

impl Way {
    /// The best way for so many rows of `x` that is not known to be wrong on the device; the last
    /// of the table where all are.
    pub fn of(device: &CubeDevice, properties: &DeviceProperties, rows: usize) -> Way {
        let (class, few) = (Class::of(properties), rows <= FEW);
        let mut ways = class.ways(few);
        if !few && class != Class::Software {
            ways.splice(0..0, Fragment::of(properties).map(Way::Cooperative));
        }
        first_right(&ways, |way| Fault::Product(way).is_known(device))
    }
}

fn first_right(ways: &[Way], is_wrong: impl Fn(Way) -> bool) -> Way {
    let right = ways.iter().find(|way| !is_wrong(**way));
    *right.unwrap_or(&ways[ways.len() - 1])
}

/// Takes the way out that [`Way::of`] gives for so many rows. Answers with the one that stands in
/// for it, `None` where there is none left.
pub fn take_out(device: &CubeDevice, rows: usize) -> Option<Way> {
    let client = device.client();
    let way = Way::of(device, client.properties(), rows);
    Fault::Product(way).note(device);
    Some(Way::of(device, client.properties(), rows)).filter(|next| *next != way)
}

/// Whether tokens are drawn on the device. Where it is the host's own processor the host's sampler is faster; unit
/// tests have nothing else.
pub fn draws(device: &CubeDevice) -> bool {
    let client = device.client();
    let real = cfg!(test) || Class::of(client.properties()) != Class::Software;
    real && !Fault::Drawing.is_known(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_way_gives_its_place_to_the_next_of_its_class() {
        let ways = Class::Planes(32).ways(true);
        let right = |wrong: &[Way]| first_right(&ways, |way| wrong.contains(&way));
        assert_eq!(right(&[]), Way::Plane(32));
        assert_eq!(right(&[Way::Plane(32)]), Way::Shared);
        assert_eq!(right(&[Way::Plane(32), Way::Shared]), Way::Single);
        // Nothing is left: the last is used, and the self-test says that it is wrong.
        assert_eq!(right(&ways), Way::Single);
    }

    #[test]
    fn every_class_has_a_second_way_for_few_rows_and_for_many() {
        for class in [Class::Software, Class::Planes(64), Class::Workgroups] {
            for few in [true, false] {
                assert!(class.ways(few).len() > 1, "{class:?}");
            }
        }
    }
}
