//! The cost of a request against the number of users, as SVG: both axes logarithmic.

use std::fmt::Write as _;

/// What one line shows: numbers of users, and microseconds.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 8] =
    ["#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#b9770e", "#444444", "#0e8c8c", "#a04070"];

/// Draws all lines.
pub fn svg(series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| series.points.iter());
    let most_users = points().map(|point| point.0).fold(10.0, f64::max);
    let most = points().map(|point| point.1).fold(10.0, f64::max);
    let least = points().map(|point| point.1).fold(most, f64::min);
    let (bottom, top) = (least.log10().floor(), most.log10().ceil());
    let x = |users: f64| LEFT + users.log10() / most_users.log10() * (WIDTH - LEFT - RIGHT);
    let y = |cost: f64| TOP + (top - cost.log10()) / (top - bottom) * (HEIGHT - TOP - BOTTOM);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">CPU time of the server per request, in microseconds</text>\n"
    );
    let mut line =
        |text: std::fmt::Arguments<'_>| writeln!(svg, "{text}").expect("writing to memory");
    for power in bottom as i32..=top as i32 {
        let (cost, at) = (10f64.powi(power), y(10f64.powi(power)));
        let end = WIDTH - RIGHT;
        line(format_args!("<path d=\"M{LEFT} {at:.1}H{end}\" stroke=\"#ddd\"/>"));
        line(format_args!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{cost}</text>",
            LEFT - 8.0,
            at + 4.0
        ));
    }
    let mut users = 1.0;
    while users <= most_users {
        let (at, end) = (x(users), HEIGHT - BOTTOM);
        line(format_args!("<path d=\"M{at:.1} {TOP}V{end}\" stroke=\"#eee\"/>"));
        line(format_args!(
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{users}</text>",
            end + 18.0
        ));
        users *= 10.0;
    }
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    line(format_args!(
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">users in the file</text>",
        HEIGHT - 12.0
    ));
    for (i, series) in series.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let places: Vec<String> = series
            .points
            .iter()
            .map(|&(users, cost)| format!("{:.1},{:.1}", x(users), y(cost)))
            .collect();
        line(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            places.join(" ")
        ));
        for &(users, cost) in &series.points {
            line(format_args!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(users),
                y(cost)
            ));
        }
        let (at, row) = (WIDTH - RIGHT + 16.0, TOP + 10.0 + 20.0 * i as f64);
        line(format_args!("<path d=\"M{at} {row}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>"));
        line(format_args!("<text x=\"{}\" y=\"{}\">{}</text>", at + 24.0, row + 4.0, series.name));
    }
    svg + "</svg>\n"
}
