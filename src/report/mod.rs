//! What people see of a run: figures, gates, the verdict, and their renderings. Reads history and
//! judgements only; knows neither robots, target nor backend.

pub mod chart;
pub mod console;
pub mod evidence;
pub mod figures;
pub mod gate;
pub mod hgrm;
pub mod html;
pub mod jobs;
pub mod junit;
pub mod meter;
pub mod rehearsal;
pub mod service_map;
pub mod summary;
pub mod timeline;
pub mod traces;
pub mod verdict;
pub mod waterfall;
